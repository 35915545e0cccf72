#!/bin/sh
# Runs in %post of every image: the lock's packages, and what the image is made of.
# What a machine's pip is configured with lies in /mnt while the image is built (see d3.provenance.images).
set -eu
cd /opt/d3
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore LC_ALL=C.UTF-8
[ ! -f /mnt/pip.conf ] || export PIP_CONFIG_FILE=/mnt/pip.conf
python3 -m venv /opt/d3/venv
pip="/opt/d3/venv/bin/python -m pip install --quiet --no-deps --require-hashes"
# Packages that come as source are built with the lock's setuptools, not with today's.
awk '/^(setuptools|packaging|ninja)==/ { on = 1 } on { print } on && !/\\$/ { on = 0 }' lock.txt > build.txt
[ ! -s build.txt ] || $pip -r build.txt
$pip --no-build-isolation -r lock.txt
rm build.txt
/opt/d3/venv/bin/python /opt/d3/manifest.py > /opt/d3/manifest.json
