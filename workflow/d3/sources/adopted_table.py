"""Tables that were made outside of the pipeline: their files, and their rows under the names of our columns."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from d3.config.adopt import Adopted
from d3.core.ids import file_digest
from d3.core.tables import Row, damage_named, format_of, open_lines, open_parquet
from d3.errors import ConfigError, InputError

KEYS = ("id", "hexsha")
"""Columns by which rows are matched to files; the first one unless `columns` names the other."""
MAP = "name the column in `columns` of its section, or add it"


class Column(NamedTuple):
    """A column that a table of some kind may have."""

    name: str
    kind: type
    required: bool = True


def adopted_files(setting: str, adopted: Adopted) -> list[str]:
    """Return the files that a section names, sorted; raise ConfigError if there is none."""
    found = [adopted.path] if Path(adopted.path).is_file() else sorted(glob(adopted.path, recursive=True))
    found = [path for path in found if Path(path).is_file()]
    if not found:
        raise ConfigError(f"{setting}.path: no file matches {adopted.path!r}", remedy="check the path")
    for path in found:
        try:
            format_of(Path(path))
        except InputError as error:
            raise ConfigError(f"{setting}.path: {error}") from None
    return found


def check_digest(setting: str, adopted: Adopted, files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the digests of several; raise InputError if it is not the pinned one."""
    digests = [file_digest(path) for path in files]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    if adopted.sha256 is not None and whole != adopted.sha256:
        raise InputError(
            f"has changed: its SHA-256 is {whole}, {setting}.sha256 is {adopted.sha256}",
            where=adopted.path,
            remedy=f"fetch {origin(adopted)} again, or raise the version and set the new digest",
        )
    return whole


def origin(adopted: Adopted) -> str:
    """Return `name@version`."""
    return f"{adopted.name}@{adopted.version}"


def key_column(adopted: Adopted) -> str:
    """Return the column by which the rows of a table are matched to files."""
    return KEYS["hexsha" in adopted.columns and "id" not in adopted.columns]


def read_adopted(path: Path, adopted: Adopted, columns: Sequence[Column]) -> Iterator[tuple[str, int, Row]]:
    """Yield (id or hexsha, number of the row from 0, row with the columns) of a table; absent ones are null.

    Raise InputError for a table without a required column, a row without an id, and a value of another type.
    """
    key = key_column(adopted)
    wanted = [Column(key, str), *columns]
    names = {column.name: adopted.columns.get(column.name, column.name) for column in wanted}
    for number, raw in enumerate(_raw_rows(path, adopted, wanted, names)):
        row: Row = {}
        for column in wanted:
            value = raw.get(names[column.name])
            fits = isinstance(value, column.kind) or (column.kind is float and isinstance(value, int))
            if value is not None and (not fits or isinstance(value, bool)):
                reason = f"row {number}: {names[column.name]} must be {_named(column.kind)} (got {value!r:.60})"
                raise InputError(reason, where=str(path), remedy="fix or remove the row")
            row[column.name] = _bounded(value, path, number, names[column.name])
        identifier = row.pop(key)
        if not identifier:
            raise InputError(f"row {number} has no {names[key]}", where=str(path), remedy="fix or remove the row")
        yield identifier, number, row


def _bounded(value: Any, path: Path, number: int, name: str) -> Any:
    """Return a value that our tables can hold; raise InputError for half a character and a large number."""
    try:
        if isinstance(value, str):
            value.encode("utf-8")  # JSON can spell half a character
        elif isinstance(value, int) and abs(value) >= 2**31:
            raise ValueError
    except ValueError:
        reason = f"row {number}: {name} contains half a character or a number above 2^31"
        raise InputError(reason, where=str(path), remedy="fix or remove the row") from None
    return value


def _named(kind: type) -> str:
    return {str: "a text", int: "a whole number", float: "a number"}[kind]


def _raw_rows(path: Path, adopted: Adopted, wanted: Sequence[Column], names: dict[str, str]) -> Iterator[Row]:
    needed = {names[column.name] for column in wanted if column.required or column.name in adopted.columns}
    if format_of(path) == ".parquet":
        with open_parquet(path, sorted(needed), remedy=MAP) as file, damage_named(path):
            present = [name for name in dict.fromkeys(names.values()) if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=1000, columns=present):
                yield from batch.to_pylist()
        return
    with open_lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row: Any = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = f"line {number} is not JSON ({error})"
                raise InputError(reason, where=str(path), remedy="fix or remove the line") from None
            if not isinstance(row, dict) or not needed <= row.keys():
                lacking = ", ".join(sorted(needed - row.keys() if isinstance(row, dict) else needed))
                raise InputError(f"line {number} has no column {lacking}", where=str(path), remedy=MAP)
            yield row
