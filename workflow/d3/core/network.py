"""Cuts a job off from the network: it gets a network of its own in which only this machine's loopback is.

`d3.pipeline.network` decides for which commands: a stage whose inputs are all named must not reach
anything else, and this shows that it does not. It is a guard against accidents, not
against a hostile stage; model-written code has walls of its own (`d3.evals.sandbox`).
"""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

from d3.errors import ToolError

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
READ_FLAGS, WRITE_FLAGS, UP = 0x8913, 0x8914, 0x1
"""SIOCGIFFLAGS, SIOCSIFFLAGS and IFF_UP of netdevice(7)."""


def leave_network() -> None:
    """Move this process, which must have one thread only, into an empty network; raises ToolError."""
    try:
        _enter_namespaces()
    except OSError as error:
        raise ToolError(
            f"the network cannot be cut off here ({error.strerror})",
            remedy="allow user namespaces, or take D3_OFFLINE=1 out of the profile",
        ) from None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(channel, READ_FLAGS, request))[1]
        fcntl.ioctl(channel, WRITE_FLAGS, struct.pack("16sH14x", b"lo", flags | UP))
    os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")


def _enter_namespaces() -> None:
    """Enter a network of our own; who is not root needs a user namespace for it, and stays who they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(NEW_NETWORK) == 0:
        return
    if libc.unshare(NEW_USER | NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
