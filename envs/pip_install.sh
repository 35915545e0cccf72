#!/bin/bash
# pip_install.sh PYTHON ARGUMENT...: run pip; if it fails, end with one line that fits what pip said.
# pip says a wall of text when something fails; the last lines and a remedy are what helps.
set -uo pipefail
said=$(mktemp)
trap 'rm -f "$said"' EXIT
python=$1
shift
"$python" -m pip install -qq --disable-pip-version-check --no-deps "$@" 2>"$said" && { cat "$said" >&2; exit 0; }
tail -n 3 "$said" >&2
case $(<"$said") in
*"No space left"* | *"Disk quota exceeded"*) remedy="free space on this disk or within your quota" ;;
*"Permission denied"* | *"Read-only file system"*) remedy="check who owns this folder and whether it is writable" ;;
*"DO NOT MATCH THE HASHES"*) remedy="the index gave another file than the lock names: check PIP_INDEX_URL" ;;
*"No module named pip"*) remedy="remove the environment's folder, which is not whole" ;;
*"is not a supported wheel"* | *"requires a different Python"*) remedy="this Python or platform has no such package: choose another with make PYTHON=..." ;;
*"name resolution"* | *"Name or service not known"* | *"Failed to establish"* | *"onnection"* | *"timed out"* | *"SSL"* | *"roxy"*)
    remedy="check the connection to the package index (PIP_INDEX_URL, HTTPS_PROXY)" ;;
*"No matching distribution"*) remedy="the package index does not have it for this Python: check PIP_INDEX_URL" ;;
*"No such file or directory"* | *"Could not open requirements"*) remedy="a file is missing: check the checkout" ;;
*) remedy="see what pip says above" ;;
esac
echo "error: could not install $*; $remedy, then run the same command again" >&2
exit 1
