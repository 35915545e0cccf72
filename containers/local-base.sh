#!/usr/bin/env bash
# Make a base image without a registry: Debian's packages, and the Python that runs the workflow.
#   containers/local-base.sh FOLDER [PYTHON]     about two minutes; needs mmdebstrap and root (or subuids)
# The Python is copied with its whole standard library, so that what the linter resolves in an image
# is what it resolves outside. The folder serves as `make images BASE=FOLDER`.
set -euo pipefail
folder=$(realpath -m "${1:?folder}") python=${2:-python3}
prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
name=$("$python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}")')
[ ! -e "$folder" ] || { echo "local-base: $folder is there already" >&2; exit 1; }
[ "$prefix" != /usr ] || { echo "local-base: $python belongs to the system; name a Python with a prefix of its own" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "local-base: install mmdebstrap" >&2; exit 1; }

part=$folder.part
rm -rf "$part"
# What the libraries of Python's extension modules need, as in the official image of the same version.
mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=ca-certificates,libbz2-1.0,libdb5.3,libexpat1,libffi8,libgdbm6,libgdbm-compat4,liblzma5,libncursesw6,libnsl2 \
    --include=libreadline8,libsqlite3-0,libssl3,libtirpc3,libuuid1,netbase,tzdata,zlib1g \
    bookworm "$part"
rm -rf "$part"/dev/* "$part"/var/lib/apt/lists/* "$part"/var/cache/apt/*.bin      # device nodes cannot be unpacked without root
mkdir -p "$part/usr/local/bin" "$part/usr/local/lib" "$part/usr/local/include"
cp -a "$prefix/include/$name" "$part/usr/local/include/"
cp -a "$prefix"/lib/libpython* "$part/usr/local/lib/"
tar -C "$prefix/lib" --exclude="$name/site-packages" --exclude=__pycache__ --exclude='*.a' -cf - "$name" | tar -C "$part/usr/local/lib" -xf -
mkdir -p "$part/usr/local/lib/$name/site-packages"
cp -a "$prefix/bin/$name" "$part/usr/local/bin/"
ln -s "$name" "$part/usr/local/bin/python3"
chmod -R u+w,go+rX "$part/usr/local"
mkdir -p "$part/etc/ld.so.conf.d" && echo /usr/local/lib > "$part/etc/ld.so.conf.d/local.conf"
chroot "$part" /sbin/ldconfig
chroot "$part" /usr/local/bin/python3 -m compileall -q -x 'lib2to3/tests|test/' /usr/local/lib || true
chroot "$part" /usr/local/bin/python3 -c 'import bz2, ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib'
mv "$part" "$folder"
