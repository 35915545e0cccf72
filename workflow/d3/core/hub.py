"""Whether the model hub can be reached, found out in seconds: its client tries for a minute before it says so."""

import os
import socket
from urllib.parse import urlsplit

PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
SECONDS = 5.0


def hub_fault() -> str | None:
    """Return why the hub cannot be reached; None if it can, or if a proxy must be asked instead."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    if any(os.environ.get(name) for name in PROXIES):
        return None
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=SECONDS):
            return None
    except (OSError, ValueError) as error:
        return f"{address.hostname}: {getattr(error, 'strerror', None) or error}"
