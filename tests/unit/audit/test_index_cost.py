"""The index and traces on a made-up run: the same code as `make bench-lineage`, smaller."""

import pytest

from benchmarks.lineage import run

CPU_SECONDS = {
    "index from nothing": 3.0,  # measured: 1.8
    "index again": 1.5,  # 0.84
    "trace of a row": 1.5,  # 0.94
    "trace of a file": 1.5,  # 0.82
    "trace of a model": 1.5,  # 0.90
}
MEGABYTES = 400  # of memory; 231
INDEX_MEGABYTES = 4  # 2.1


@pytest.mark.slow
def test_the_index_is_small_and_traces_are_quick() -> None:
    found = run(20_000, 10)
    size, _, _ = found.pop("size of the index, MB")
    assert size < INDEX_MEGABYTES
    assert found.keys() == CPU_SECONDS.keys()
    assert {what: cpu for what, (_, cpu, _) in found.items() if cpu > CPU_SECONDS[what]} == {}
    assert max(memory for _, _, memory in found.values()) < MEGABYTES
