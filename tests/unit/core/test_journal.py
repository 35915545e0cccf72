"""The journal: what was put is there after any crash, or is known to be gone."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import zstandard

from d3.core.journal import SUFFIX, Journal, JournalError
from helpers.paths import WORKFLOW


def chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def fill(folder: Path, names: range, **options: int) -> None:
    with Journal(folder, **options) as journal:
        for name in names:
            journal.put(f"key{name}", {"number": name, "text": "a\tb\nc\u2028d é" * 3})


def test_values_survive_reopening(tmp_path: Path) -> None:
    fill(tmp_path, range(10), chunk_entries=4)
    assert len(chunks(tmp_path)) == 3
    journal = Journal(tmp_path)
    assert len(journal) == 10
    for name in range(10):
        assert journal.get(f"key{name}") == {"number": name, "text": "a\tb\nc\u2028d é" * 3}
    assert journal.get("key10") is None
    assert sorted(journal.keys()) == sorted(f"key{name}" for name in range(10))


def test_pending_entries_are_seen_before_and_after_the_flush(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put("a", {"x": 1})
    assert journal.get("a") == {"x": 1}
    assert chunks(tmp_path) == []
    journal.flush()
    journal.flush()
    assert journal.get("a") == {"x": 1}
    assert len(chunks(tmp_path)) == 1


def test_the_first_value_of_a_key_stays(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("a", {"x": 1})
        journal.put("a", {"x": 2})
        journal.flush()
        journal.put("a", {"x": 3})
    assert Journal(tmp_path).get("a") == {"x": 1}
    assert len(chunks(tmp_path)) == 1


@pytest.mark.parametrize("key", ["a\tb", "a\nb"])
def test_a_key_that_would_break_the_lines_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="tab or line break"):
        Journal(tmp_path).put(key, {})


def test_a_file_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(JournalError, match="not a folder"):
        Journal(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_chunk_is_ignored_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(8), chunk_entries=4)
    broken = chunks(tmp_path)[0]
    data = bytearray(broken.read_bytes())
    if damage == "cut":
        data = data[:-5]
    elif damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        data = bytearray()
    broken.write_bytes(data)
    journal = Journal(tmp_path)
    assert len(journal) == 4
    assert "damaged chunk" in caplog.text
    health = journal.verify()
    assert (health.chunks, health.entries, health.damaged) == (1, 4, (broken,))
    lost = [name for name in range(8) if journal.get(f"key{name}") is None]
    assert len(lost) == 4
    with journal:  # working it out again mends the journal
        for name in lost:
            journal.put(f"key{name}", {"number": name})
    assert len(Journal(tmp_path)) == 8


def test_a_damaged_chunk_beside_sound_ones_is_found_by_a_read_after_opening(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    journal = Journal(tmp_path)
    chunks(tmp_path)[0].write_bytes(b"")
    assert journal.get("key0") is None


def test_a_torn_write_leaves_nothing_that_looks_like_a_chunk(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    name = chunks(tmp_path)[0].name
    (tmp_path / f".{name}.host-1.part").write_bytes(b"half")
    assert len(Journal(tmp_path)) == 4


def test_compaction_merges_and_drops(tmp_path: Path) -> None:
    for start in range(0, 40, 4):
        fill(tmp_path, range(start, start + 4))
    fill(tmp_path / "copy", range(4))
    assert len(chunks(tmp_path)) == 10
    journal = Journal(tmp_path, chunk_entries=16)
    assert journal.compact(lambda key: int(key[3:]) % 2 == 0) == 20
    assert len(chunks(tmp_path)) == 2
    again = Journal(tmp_path)
    for name in range(40):
        value = again.get(f"key{name}")
        assert (value is None) == (name % 2 == 1)
        assert value is None or value["number"] == name
    assert journal.compact() == 20  # nothing left to do, and nothing lost by doing it again
    assert len(Journal(tmp_path)) == 20


def test_compaction_removes_repeats_damage_and_leftovers(tmp_path: Path) -> None:
    one, two = Journal(tmp_path), Journal(tmp_path)  # neither sees the other's entries
    one.put("same", {"x": 1})
    two.put("same", {"x": 1})
    two.put("other", {"x": 2})
    one.close()
    two.close()
    (tmp_path / ("0" * 64 + SUFFIX)).write_bytes(b"junk")
    host = os.uname().nodename
    dead = tmp_path / f".{'1' * 64}{SUFFIX}.{host}-999999999.part"
    dead.write_bytes(b"half")
    journal = Journal(tmp_path)
    assert journal.compact() == 2
    health = journal.verify()
    assert (health.chunks, health.entries, health.damaged) == (1, 2, ())
    assert not dead.exists()


def test_an_open_journal_survives_a_compaction_by_another(tmp_path: Path) -> None:
    for start in range(0, 8, 2):
        fill(tmp_path, range(start, start + 2))
    reader = Journal(tmp_path)
    assert reader.get("key0") is not None
    Journal(tmp_path).compact()
    assert [reader.get(f"key{name}") is not None for name in range(8)] == [True] * 8


WRITER = """
    import sys
    from pathlib import Path
    from d3.core.journal import Journal
    journal = Journal(Path(sys.argv[1]), chunk_entries=3)
    for number in range(int(sys.argv[3])):
        journal.put(f"{sys.argv[2]}-{number}", {"number": number})
        if number % 7 == 0:
            journal.flush()
            print(number, flush=True)
    journal.close()
"""


def writer(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(WORKFLOW)},
    )


def test_two_processes_write_into_one_folder(tmp_path: Path) -> None:
    both = [writer(tmp_path, name, 50) for name in "ab"]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    journal = Journal(tmp_path)
    assert len(journal) == 100
    assert all(journal.get(f"{name}-{number}") == {"number": number} for name in "ab" for number in range(50))


def test_a_kill_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    process = writer(tmp_path, "a", 100_000)
    assert process.stdout is not None
    flushed = 0
    for line in process.stdout:
        flushed = int(line)
        if flushed > 70:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    journal = Journal(tmp_path)
    assert journal.verify().damaged == ()
    assert all(journal.get(f"a-{number}") == {"number": number} for number in range(flushed + 1))


def test_an_empty_journal_is_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert len(journal) == 0
    assert bool(journal)


def test_what_an_entry_is_about_is_no_part_of_its_value(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("a", {"text": "x"}, about=["file-2", "file-1"])
        assert journal.get("a") == {"text": "x"}
    assert Journal(tmp_path).get("a") == {"text": "x"}


def test_entries_about_something_are_purged(tmp_path: Path) -> None:
    with Journal(tmp_path, chunk_entries=2) as journal:
        for number in range(7):
            journal.put(
                f"key{number}", {"text": f"value {number}"}, about=[f"file-{number % 3}", "all"][: number % 2 + 1]
            )
        journal.put("loose", {"text": "quotes file-1's line"})
    journal = Journal(tmp_path, chunk_entries=2)
    before = {path.name for path in tmp_path.iterdir()}
    assert journal.purge(["file-9"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == before
    assert journal.purge(["file-1"], lambda text: "quotes" in text) == 3
    left = Journal(tmp_path)
    assert sorted(left.keys()) == ["key0", "key2", "key3", "key5", "key6"]
    assert left.get("key5") == {"text": "value 5"}
    assert not any(
        b"value 4" in zstandard.ZstdDecompressor().decompress(path.read_bytes()) for path in tmp_path.iterdir()
    )


def test_damaged_chunks_go_with_a_purge_that_finds_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("a", {"x": 1})
    (tmp_path / ("0" * 64 + SUFFIX)).write_bytes(b"torn")
    journal = Journal(tmp_path)
    assert journal.purge(["file-9"]) == 0
    assert journal.verify().damaged == ()
    assert Journal(tmp_path).get("a") == {"x": 1}


@pytest.mark.parametrize(("alone", "left"), [(False, 1), (True, 0)])
def test_compaction_keeps_what_another_machine_may_be_writing(tmp_path: Path, alone: bool, left: int) -> None:
    part = tmp_path / f".{'1' * 64}{SUFFIX}.another-node-7.part"
    part.write_bytes(b"half")
    Journal(tmp_path).compact(alone=alone)
    assert len(list(tmp_path.iterdir())) == left
    part.write_bytes(b"half")
    os.utime(part, (0, 0))
    Journal(tmp_path).compact()
    assert not part.exists()
