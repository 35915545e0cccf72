"""Files of data sets on the Hugging Face Hub, at a commit: `hf://datasets/OWNER/NAME@COMMIT/PATH`.

A branch moves, so a commit is required. Numbered files are written as a range, `data-{00000..00143}-of-00144.parquet`,
so that the list of shards is known without asking the hub.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from d3.errors import ConfigError

SCHEME = "hf://"
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST = 100_000


class HubFile(NamedTuple):
    """One file of a data set."""

    owner: str
    name: str
    commit: str
    file: str

    @property
    def folder(self) -> str:
        """Return the name of the folder of this data set at this commit."""
        return f"{self.owner}--{self.name}@{self.commit}"

    def path(self, folder: str) -> str:
        """Return where the file lies once it is downloaded."""
        return f"{folder}/{self.folder}/{self.file}"


ADDRESS = re.compile(
    r"hf://datasets/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)@(?P<commit>[0-9a-f]{40})/(?P<file>[^*?\[\]]+)", re.ASCII
)


def hub_file(address: str, setting: str) -> HubFile:
    """Return the one file that an address in a setting names; raise ConfigError for anything else."""
    files = list(hub_files(address, setting))
    if len(files) > 1:
        raise ConfigError(f"{setting}: {address!r} must name one file", remedy="write it without a range")
    return files[0]


def hub_files(address: str, setting: str = "source.shards") -> Iterator[HubFile]:
    """Yield the files that an address in a setting stands for; raise ConfigError for anything else."""
    found = ADDRESS.fullmatch(address)
    if found is None or {"", ".", ".."} & set(found["file"].split("/")):
        raise ConfigError(
            f"{setting}: {address!r} must be hf://datasets/OWNER/NAME@COMMIT/PATH with the 40 digits of a commit "
            "and without patterns",
            remedy="take the commit from the history of the data set's files; write numbered files as {000..143}",
        )
    part = RANGE.search(found["file"])
    if part is None:
        yield HubFile(*found.groups())
        return
    first, last = int(part[1]), int(part[2])
    if last < first or last - first >= MOST or RANGE.search(found["file"], part.end()):
        reason = f"{setting}: {address!r} must contain one range of at most {MOST:,} numbers"
        raise ConfigError(reason, remedy="write it as {000..143}")
    for number in range(first, last + 1):
        file = f"{found['file'][: part.start()]}{number:0{len(part[1])}d}{found['file'][part.end() :]}"
        yield HubFile(found["owner"], found["name"], found["commit"], file)
