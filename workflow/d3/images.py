"""Container images: which definition and locks each is made of, and the key in its file name."""

import hashlib
import re
from pathlib import Path

from d3.errors import ConfigError

ROOT = Path(__file__).parents[2]
LOCKS = re.compile(r"^\s+envs/(\S+\.lock)\s", re.MULTILINE)


def image_key(name: str) -> str:
    """Give 12 hexadecimal digits for an image's definition and the locks that it copies in.

    Raises ConfigError for an image without a definition.
    """
    definition = ROOT / "containers" / f"{name}.def"
    if not definition.is_file():
        raise ConfigError("no such image definition", where=str(definition), remedy="see containers/README.md")
    text = definition.read_bytes()
    parts = [text, *((ROOT / "envs" / lock).read_bytes() for lock in LOCKS.findall(text.decode()))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
