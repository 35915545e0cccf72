"""Tables: equal rows give equal bytes, and a name only ever stands for a whole file."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from d3.core.tables import (
    FORMATS,
    ROW_GROUP_ROWS,
    HashingFile,
    Row,
    TableWriter,
    count_rows,
    format_of,
    in_order,
    open_parquet,
    part_name,
    publish,
    read_notes,
    read_rows,
    table_name,
    written_whole,
)
from d3.errors import InputError

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("count", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("inner", pa.struct([("share", pa.float64())])),
    ]
)
ROWS: list[Row] = [
    {"id": f"{number}: é\u2028😀\0", "count": number, "tags": ["a", str(number)], "inner": {"share": number / 7}}
    for number in range(40)
] + [
    {"id": None, "count": None, "tags": None, "inner": None},
    {"id": "", "count": -1, "tags": [], "inner": {"share": None}},
]


def write(path: Path, rows: list[Row] = ROWS) -> str:
    writer = TableWriter(path, SCHEMA)
    for row in rows:
        writer.write(row)
    digest = writer.finish()
    writer.publish()
    return digest


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_come_back_and_bytes_are_the_rows_alone(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / "folder" / f"second{suffix}"
    digest = write(first)
    assert write(second, [dict(reversed(row.items())) for row in ROWS]) == digest
    assert first.read_bytes() == second.read_bytes()
    assert hashlib.sha256(first.read_bytes()).hexdigest() == digest
    assert list(read_rows(first, SCHEMA)) == ROWS
    assert count_rows(first) == len(ROWS)
    assert write(tmp_path / f"third{suffix}", ROWS[::-1]) != digest
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first.name, "folder", f"third{suffix}"])


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_table_is_a_table(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", [])
    assert list(read_rows(tmp_path / f"a{suffix}", SCHEMA)) == []
    assert count_rows(tmp_path / f"a{suffix}") == 0


def test_only_the_wanted_columns_are_read(tmp_path: Path) -> None:
    for suffix in FORMATS:
        write(tmp_path / f"a{suffix}")
        wanted = pa.schema([SCHEMA.field("count"), SCHEMA.field("id")])
        row = next(read_rows(tmp_path / f"a{suffix}", wanted))
        assert row == {"id": ROWS[0]["id"], "count": 0}


def test_row_groups_are_bounded_by_rows_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": "x", "count": 1, "tags": [], "inner": None}
    write(tmp_path / "a.parquet", [row] * (2 * ROW_GROUP_ROWS + 1))
    with open_parquet(tmp_path / "a.parquet") as file:
        groups = [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)]
    assert groups == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 1]
    monkeypatch.setattr("d3.core.tables.ROW_GROUP_BYTES", 1000)
    write(tmp_path / "b.parquet", [{**row, "id": "x" * 600}] * 5)
    with open_parquet(tmp_path / "b.parquet") as file:
        assert [file.metadata.row_group(at).num_rows for at in range(file.metadata.num_row_groups)] == [2, 2, 1]


def test_rows_must_have_exactly_the_columns(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "a.jsonl", SCHEMA)
    with pytest.raises(KeyError, match="tags"):
        writer.write({"id": "a", "count": 1, "inner": None})
    with pytest.raises(ValueError, match="extra"):
        writer.write({**ROWS[0], "extra": 1})
    assert writer.rows == 0
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_notes_lie_in_the_footer(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path / "a.parquet", SCHEMA)
    writer.note({"kept": 3, "dropped": {"é": 1}})
    writer.finish()
    writer.publish()
    assert read_notes(tmp_path / "a.parquet") == {"kept": 3, "dropped": {"é": 1}}
    write(tmp_path / "b.parquet")
    assert read_notes(tmp_path / "b.parquet") == {}


def test_formats_and_names(tmp_path: Path) -> None:
    assert [format_of(Path(f"a.b{suffix}")) for suffix in FORMATS] == list(FORMATS)
    assert table_name(Path("x/a.b.jsonl.zst")) == "a.b"
    for name in ("a.csv", "a.parquet.bak", "a.tsv", "parquet"):
        with pytest.raises(InputError, match="name it with one of"):
            format_of(Path(name))


def test_a_file_is_hashed_while_it_is_written(tmp_path: Path) -> None:
    with HashingFile(tmp_path / "a") as file:
        assert file.write(b"abc") == 3
        assert file.write(memoryview(bytearray(b"defg"))) == 4
        assert file.tell() == 7
    assert file.hexdigest() == hashlib.sha256(b"abcdefg").hexdigest()
    assert (tmp_path / "a").read_bytes() == b"abcdefg"


# --- names stand for whole files ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_discarded_table_leaves_nothing_and_says_nothing(tmp_path: Path, suffix: str) -> None:
    program = f"""
        import gc, pyarrow as pa
        from pathlib import Path
        from d3.core.tables import TableWriter
        for rows in (0, 1, 2000):
            writer = TableWriter(Path({str(tmp_path)!r}) / "a{suffix}", pa.schema([("id", pa.string())]))
            for row in range(rows):
                writer.write({{"id": str(row)}})
            writer.discard()
            del writer
            gc.collect()
    """
    done = subprocess.run([sys.executable, "-X", "dev", "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with written_whole(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    with written_whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("old", "new"):
        with written_whole(path) as part:
            (part / "deep").mkdir(parents=True)
            (part / "deep" / content).write_text(content)
    assert [child.name for child in (path / "deep").iterdir()] == ["new"]
    with written_whole(path) as part:
        part.write_text("a file now")
    assert path.read_text() == "a file now"
    assert [child.name for child in tmp_path.iterdir()] == ["model"]


def test_no_half_of_an_old_folder_is_seen_when_a_publication_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part = tmp_path / "model", part_name(tmp_path / "model")
    for folder, names in ((path, "ab"), (part, "cd")):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    seen = []
    real = os.replace

    def watched(old: Path, new: Path) -> None:
        seen.append(sorted(child.name for child in path.iterdir()) if path.exists() else None)
        real(old, new)
        seen.append(sorted(child.name for child in path.iterdir()) if path.exists() else None)

    monkeypatch.setattr("os.replace", watched)
    publish(part, path)
    assert seen == [["a", "b"], None, None, ["c", "d"]]


def dead_process() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


@pytest.mark.parametrize("name", ["a.parquet", "with [brackets] *?.jsonl", "-dash", "ünï.jsonl.gz"])
def test_leftovers_of_dead_processes_go_and_others_stay(tmp_path: Path, name: str) -> None:
    path, host, dead = tmp_path / name, socket.gethostname(), dead_process()
    gone = [f".{name}.{host}-{dead}.part", f".{name}.{host}-{dead}-old.part"]
    stay = [
        f".{name}.{host}-{os.getppid()}.part",  # a living process
        f".{name}.{host}-2-{dead}.part",  # a host whose name begins alike
        f".{name}.other-{dead}.part",
        f".x{name}.{host}-{dead}.part",
        f".{name}.{host}-notes.part",
    ]
    for left in gone + stay:
        (tmp_path / left).touch()
    (tmp_path / gone[0]).unlink()
    (tmp_path / gone[0]).mkdir()
    (tmp_path / gone[0] / "shard").touch()
    part = part_name(path)
    assert part == tmp_path / f".{name}.{host}-{os.getpid()}.part"
    assert sorted(child.name for child in tmp_path.iterdir()) == sorted(stay)


def test_a_killed_writer_leaves_no_table_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    program = f"""
        import os, signal, pyarrow as pa
        from pathlib import Path
        from d3.core.tables import TableWriter
        writer = TableWriter(Path({str(path)!r}), pa.schema([("id", pa.string())]))
        for row in range(1500):
            writer.write({{"id": str(row)}})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    write(path)
    assert [child.name for child in tmp_path.iterdir()] == ["a.parquet"]


def test_json_lines_are_plain_json(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == ROWS
    assert list(json.loads(lines[0])) == SCHEMA.names


def test_rows_out_of_order_are_named(tmp_path: Path) -> None:
    rows = [{"id": "a", "sample": 1}, {"id": "a", "sample": 1}, {"id": "b", "sample": 0}]
    assert list(in_order(rows, ("id", "sample"), tmp_path)) == rows
    wrong = [*rows, {"id": "a", "sample": 2}]
    read = in_order(wrong, ("id", "sample"), tmp_path)
    assert [next(read) for _ in rows] == rows
    with pytest.raises(InputError, match=r"in the order of \(id, sample\) \(got \('b', 0\) before \('a', 2\)\)"):
        next(read)
