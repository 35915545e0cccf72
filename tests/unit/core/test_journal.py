"""The journal: what was put is there after any crash, or is known to be gone."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from d3.core import journal as journal_module
from d3.core import journal_segment
from d3.core.journal import SUFFIX, Journal, JournalError, verify
from d3.core.journal_segment import Segment
from helpers.paths import WORKFLOW


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def fill(folder: Path, names: range, **options: int) -> None:
    with Journal(folder, **options) as journal:
        for name in names:
            journal.put(f"key{name}", {"number": name, "text": "a\tb\nc\u2028d é" * 3})


def test_values_survive_reopening(tmp_path: Path) -> None:
    fill(tmp_path, range(10), flush_entries=4)
    assert len(segments(tmp_path)) == 2  # of eight entries, merged, and of two
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
    assert segments(tmp_path) == []
    journal.flush()
    journal.flush()
    assert journal.get("a") == {"x": 1}
    assert len(segments(tmp_path)) == 1


def test_the_first_value_of_a_key_stays(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("a", {"x": 1})
        journal.put("a", {"x": 2})
        journal.flush()
        journal.put("a", {"x": 3})
    assert Journal(tmp_path).get("a") == {"x": 1}
    assert len(segments(tmp_path)) == 1


@pytest.mark.parametrize("key", ["a\tb", "a\nb"])
def test_a_key_that_would_break_the_lines_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="tab or line break"):
        Journal(tmp_path).put(key, {})


def test_a_file_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(JournalError, match="not a folder"):
        Journal(path)


@pytest.mark.parametrize(("damage", "entries"), [("cut", 0), ("flip", 3), ("empty", 0)])
def test_what_is_damaged_is_ignored_with_a_warning(
    tmp_path: Path, damage: str, entries: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_segment, "BLOCK_BYTES", 200)
    fill(tmp_path, range(6))
    broken = segments(tmp_path)[0]
    data = bytearray(broken.read_bytes())
    if damage == "cut":
        data = data[:-5]
    elif damage == "flip":
        data[20] ^= 1
    else:
        data = bytearray()
    broken.write_bytes(data)
    journal = Journal(tmp_path)
    lost = [name for name in range(6) if journal.get(f"key{name}") is None]
    assert len(journal) == 6 - len(lost) == entries
    assert "damaged in a journal" in caplog.text
    health = verify(tmp_path)
    assert (health.segments, health.entries, health.damaged) == (0, 0, (broken,))
    with journal:  # working it out again mends the journal
        for name in lost:
            journal.put(f"key{name}", {"number": name})
    assert all(Journal(tmp_path).get(f"key{name}") for name in range(6))
    assert Journal(tmp_path).compact() == 6
    assert verify(tmp_path).damaged == ()


def test_compaction_keeps_what_can_be_read_of_a_torn_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_segment, "BLOCK_BYTES", 200)
    fill(tmp_path, range(6))
    torn = segments(tmp_path)[0]
    torn.write_bytes(torn.read_bytes()[:-60])  # the index is gone, the entries are not
    assert Journal(tmp_path).get("key0") is None
    assert Journal(tmp_path).compact() == 6
    assert Journal(tmp_path).get("key5")
    assert verify(tmp_path).damaged == ()


def test_a_file_that_is_emptied_after_opening_is_noticed_by_a_read(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    journal = Journal(tmp_path)
    segments(tmp_path)[0].write_bytes(b"")
    assert journal.get("key0") is None


def test_a_torn_write_leaves_nothing_that_looks_like_a_chunk(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    name = segments(tmp_path)[0].name
    (tmp_path / f".{name}.host-1.part").write_bytes(b"half")
    assert len(Journal(tmp_path)) == 4


@pytest.mark.slow
def test_small_segments_are_merged_by_whoever_closes(tmp_path: Path) -> None:
    for start in range(0, 4000, 100):
        fill(tmp_path, range(start, start + 100), flush_entries=10)
    assert len(segments(tmp_path)) <= 7
    again = Journal(tmp_path)
    assert all(again.get(f"key{name}") == {"number": name, "text": "a\tb\nc\u2028d é" * 3} for name in range(4000))
    assert again.get("key4000") is None
    assert again.compact() == 4000
    (one,) = segments(tmp_path)
    shown = subprocess.run(["zstdcat", one], capture_output=True) if shutil.which("zstdcat") else None
    assert shown is None or shown.stdout.count(b"\n") == 4000
    assert again.compact() == 4000  # nothing left to do, and nothing lost by doing it again
    assert segments(tmp_path) == [one]


def test_chunks_of_the_former_format_are_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of lines in a folder for each batch, named by the SHA-256 of its bytes."""
    for batch in ("one", "two/deep"):
        folder = tmp_path / batch
        folder.mkdir(parents=True)
        text = b"".join(b'%s-%d\t{"about":["file-1"],"x":%d}\n' % (batch.encode(), n, n) for n in range(300))
        data = zstandard.ZstdCompressor().compress(text)
        (folder / f"{hashlib.sha256(data).hexdigest()}{SUFFIX}").write_bytes(data)
    forged = tmp_path / "one" / f"{'0' * 64}{SUFFIX}"
    forged.write_bytes(data)
    assert verify(tmp_path).entries == 600
    journal = Journal(tmp_path)
    assert (len(journal), journal.get("two/deep-7")) == (600, {"x": 7})
    assert [path for path in tmp_path.rglob(f"*{SUFFIX}") if path.parent != tmp_path] == [forged]
    assert str(forged) in caplog.text
    assert verify(tmp_path).damaged == (forged,)
    assert Journal(tmp_path).purge(["file-1"]) == 600


def test_two_that_merge_the_same_segments_lose_nothing(tmp_path: Path) -> None:
    for start in range(0, 90, 30):
        with Journal(tmp_path) as journal:
            for name in range(start, start + 30):
                journal.put(f"key{name}", {"number": name})
    one, two = Journal(tmp_path), Journal(tmp_path)
    one.put("one", {"x": 1})
    two.put("two", {"x": 2})
    one.close()
    two.close()
    left = Journal(tmp_path)
    assert len(left) == 92
    assert all(reader.get(f"key{name}") == {"number": name} for reader in (one, two, left) for name in range(90))


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
    health = verify(tmp_path)
    assert (health.segments, health.entries, health.damaged) == (1, 2, ())
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
    journal = Journal(Path(sys.argv[1]), flush_entries=3)
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
    assert verify(tmp_path).damaged == ()
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


@pytest.mark.parametrize("holds", [None, lambda text: "quotes" in text])
def test_entries_about_something_are_purged(tmp_path: Path, holds: Callable[[str], bool] | None) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        with Journal(folder, flush_entries=2) as journal:
            for number in range(7):
                ids = [f"file-{number % 3}", "all"][: number % 2 + 1]
                journal.put(f"key{number}", {"text": f"value {number}"}, about=ids)
            journal.put("loose", {"text": "quotes file-1's line"})
    journal = Journal(folders[0], flush_entries=2)
    before = {path.name for path in folders[0].iterdir()}
    assert journal.purge(["file-9"]) == 0
    assert {path.name for path in folders[0].iterdir()} == before
    assert journal.purge(["file-1"], holds) == 2 + bool(holds)
    left = Journal(folders[0])
    assert sorted(left.keys()) == sorted(["key0", "key2", "key3", "key5", "key6", *([] if holds else ["loose"])])
    assert left.get("key5") == {"text": "value 5"}
    assert [key for key, _ in left.about("all")] == ["key3", "key5"]
    assert not any(b"value 4" in everything(path) for path in folders[0].iterdir())
    assert any(b"value 4" in everything(path) for path in folders[1].iterdir())


def everything(path: Path) -> bytes:
    with path.open("rb") as file:
        return bytes(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read())


def test_a_purge_reads_and_writes_only_what_is_about_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_ENTRIES", 100)
    with Journal(tmp_path, flush_entries=100) as journal:
        for number in range(1000):
            journal.put(f"key{number:04}", {"x": number}, about=[f"file-{number // 5}"])
    before = {path.name: path.stat().st_ino for path in segments(tmp_path)}
    assert len(before) == 10
    read: list[int] = []
    lines = Segment.lines
    monkeypatch.setattr(Segment, "lines", lambda self, number: read.append(number) or lines(self, number))
    assert Journal(tmp_path).purge(["file-77"]) == 5
    assert len(read) == 1
    assert sum(path.stat().st_ino in before.values() for path in segments(tmp_path)) == 9
    assert len(Journal(tmp_path)) == 995


def test_a_key_of_two_words_is_found_by_the_first(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("engine 1", {"x": 1})
        journal.put("engine 2", {"x": 2})
        journal.put("other", {"x": 3})
    assert sorted(Journal(tmp_path).about("engine")) == [("engine 1", {"x": 1}), ("engine 2", {"x": 2})]


def test_what_is_damaged_goes_with_a_purge_that_finds_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.put("a", {"x": 1})
    (tmp_path / ("0" * 64 + SUFFIX)).write_bytes(b"torn")
    journal = Journal(tmp_path)
    assert journal.purge(["file-9"]) == 0
    assert verify(tmp_path).damaged == ()
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
