"""An empty DuckDB data base that spills to the disk beside the results."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from d3.core.tables import part_name, remove
from d3.errors import InputError, raise_system_error

if TYPE_CHECKING:  # stages that only read the lists run where there is no DuckDB
    import duckdb

MEMORY = "2GB"
"""Of the data base; what does not fit is spilled."""


@contextmanager
def data_base(folder: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Yield an empty data base that spills into a folder of its own, removed at the end or by the next run.

    Raise InputError if DuckDB cannot do what it is asked.
    """
    import duckdb

    spill = part_name(folder / "spill")
    remove(spill)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(spill),
        "preserve_insertion_order": False,
    }
    try:
        with duckdb.connect(":memory:", config=settings) as base:
            yield base
    except duckdb.Error as error:
        raise_system_error(error, folder)
        raise InputError(f"cannot be compared ({error})", where=str(folder), remedy="make its inputs again") from None
    finally:
        remove(spill)
