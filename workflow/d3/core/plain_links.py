r"""Files under names of ours, for readers to whom a path is more than a name.

DuckDB takes `[ ] * ? \ ~` in a path for a pattern and `id=5` for a column, and what its patterns mean depends
on the files beside them.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PARQUET = "read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false)"
"""How DuckDB reads linked files."""


@contextmanager
def plain_links(paths: Iterable[str | Path]) -> Iterator[dict[str, str]]:
    """Yield the path of every file by that of a link to it; the links are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="d3-links-") as folder:
        links = {f"{folder}/{number:08d}.parquet": str(path) for number, path in enumerate(paths)}
        for link, path in links.items():
            Path(link).symlink_to(Path(path).absolute())
        yield links
