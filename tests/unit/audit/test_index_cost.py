"""The index and traces on a made-up run: the same code as `make bench-lineage`, smaller."""

from benchmarks.lineage import run


def test_traces_stay_fast_and_the_index_small() -> None:
    found = run(20_000, 10)
    for what, (_, cpu, memory) in found.items():
        if what.startswith("trace"):
            assert cpu < 3, what
            assert memory < 1000
    assert found["index again"][1] < 3
    assert found["size of the index, MB"][0] < 20
