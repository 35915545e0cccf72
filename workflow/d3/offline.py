"""Cuts a job off from the network: it gets a network of its own in which only this machine's loopback is.

Used where `D3_OFFLINE=1` says so, as the profiles for images do: a stage whose inputs are all named
must not reach anything else, and this shows that it does not. It is a guard against accidents, not
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
DOWNLOADS = ("source", "model", "benchmark", "hub-model")
"""Commands that bring the inputs of a run to this machine."""
ASKS_A_SERVER = ("grades", "labels", "topics", "topics-cost", "generate")
"""Commands that reach a server, if they run in the environment that has no engine of its own."""


def needs_network(command: str, environment: str, nodes: int) -> bool:
    """Say whether a command needs the network: to ask a server, to fetch something, to train over nodes."""
    if command in DOWNLOADS or nodes > 1:
        return True
    return command in ASKS_A_SERVER and environment in ("data", "main")


def enforce(command: str) -> None:
    """Cut this process off if the machine's profile wants it and the command does not need the network.

    Raises ToolError where the kernel refuses.
    """
    if os.environ.get("D3_OFFLINE") != "1":
        return
    nodes = os.environ.get("D3_NODES", "1")
    if not needs_network(command, os.environ.get("D3_ENVIRONMENT", "main"), int(nodes) if nodes.isdigit() else 1):
        leave_network()


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
