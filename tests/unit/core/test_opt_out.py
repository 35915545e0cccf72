"""The opt-out list: which rows it takes, and which batches a changed list touches."""

import hashlib
import itertools
from pathlib import Path

import pytest

from d3.config.load import parse_config
from d3.core import schemas
from d3.core.ids import content_id, normalise
from d3.core.opt_out import NOBODY, OptOut, parse_entry, read_opt_out, touches
from d3.core.tables import Row, read_rows
from d3.errors import ConfigError, InputError
from d3.pipeline.pipeline import Chain
from d3.stages.corpus.stage import run
from helpers.corpus_tables import open_config, stack_row, write_lines, write_shard


def text(name: str) -> str:
    return f"import os\n\n\ndef area_{name}(side):\n    return side * side\n"


def listed(*entries: str) -> OptOut:
    return OptOut(frozenset(parse_entry(entry) for entry in entries))


ROWS = [
    stack_row(text("a"), max_stars_repo_name="Ann/one"),
    stack_row(text("b"), max_stars_repo_name="ann/two", max_forks_repo_name="bob/fork", max_issues_repo_name=None),
    stack_row(text("c"), max_stars_repo_name="annika/one"),
    stack_row("print 1  # by ann", max_stars_repo_name="ann/one"),
    stack_row(text("a").replace("\n", "\r\n"), max_stars_repo_name="cyd/copy"),
    stack_row(None, max_stars_repo_name="ann/one"),
    stack_row(text("d"), max_stars_repo_name=None, max_issues_repo_name=None, max_forks_repo_name=None),
]


def corpus(folder: Path, opt_out: str | None, name: str = "a", rows: list[Row] | None = None) -> tuple[Path, Path]:
    """Run the stage; gives the paths of the kept and the rejected rows."""
    folder.mkdir(exist_ok=True)
    shard = write_shard(folder / f"{name}.parquet", ROWS if rows is None else rows)
    listing = folder / "opt-out.txt"
    if opt_out is not None:
        listing.write_text(opt_out)
    kept, rejected = folder / "kept.parquet", folder / "rejected.parquet"
    run(open_config(), [shard], kept, rejected, opt_out=listing if opt_out is not None else None)
    return kept, rejected


def opted_out(rejected: Path) -> dict[int, str]:
    rows = read_rows(rejected, schemas.REJECTED)
    return {line["row"]: line["detail"] for line in rows if line["reason"] == "opted_out"}


@pytest.mark.parametrize(
    ("entry", "rows"),
    [
        ("repo:ann/one", [0, 3, 5]),
        ("repo:ANN/One", [0, 3, 5]),
        ("repo:bob/fork", [1]),
        ("user:ann", [0, 1, 3, 5]),
        ("user:annika", [2]),
        ("user:nobody", []),
        (f"file:{content_id(normalise(text('a')))}", [0, 4]),
        (f"file:{ROWS[0]['hexsha']}", [0]),
        (f"file:{ROWS[3]['hexsha'].upper()}", [3]),
    ],
)
def test_an_entry_takes_the_rows_that_it_names(tmp_path: Path, entry: str, rows: list[int]) -> None:
    kept, rejected = corpus(tmp_path, f"# people who asked\n\n  {entry}  # by letter\n")
    assert opted_out(rejected) == dict.fromkeys(rows, f"by {entry.lower()}")
    assert not {line["row"] for line in read_rows(kept, schemas.CORPUS)} & set(rows)


def test_a_row_that_is_opted_out_leaves_no_text(tmp_path: Path) -> None:
    kept, rejected = corpus(tmp_path, "user:ann\n")
    lines = list(read_rows(rejected, schemas.REJECTED))
    assert "area_a" in str(list(read_rows(kept, schemas.CORPUS)))  # cyd's copy stays
    assert not [word for word in ("area_a", "area_b", "print") if word in str(lines)]
    assert not list(tmp_path.glob(".*"))
    by_row = {line["row"]: line for line in lines}
    assert by_row[1]["repositories"] == ["ann/two", "bob/fork"]
    assert by_row[5]["id"] is None


def test_rows_that_cannot_be_read_are_taken_too(tmp_path: Path) -> None:
    broken = [
        stack_row(text("x"), content=b"\xff", max_stars_repo_name="ann/one"),
        stack_row(text("y"), content=b"\xff"),
    ]
    _, rejected = corpus(tmp_path, "user:ann", rows=broken)
    assert list(opted_out(rejected)) == [0]
    lines = [stack_row(text("x"), size="many", max_forks_repo_name="ann/one"), b"{"]
    shard = write_lines(tmp_path / "b.jsonl", lines)
    run(open_config(), [shard], tmp_path / "k.parquet", tmp_path / "r.parquet", opt_out=tmp_path / "opt-out.txt")
    assert list(opted_out(tmp_path / "r.parquet")) == [0]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("repo:https://github.com/Ann/One", "repo:ann/one"),
        ("repo:http://www.github.com/ann/one.git?tab=readme#use", "repo:ann/one"),
        ("repo:git@github.com:ann/one.git", "repo:ann/one"),
        ("repo:ssh://git@forge.example.org:2222/ann/one", "repo:ann/one"),
        ("repo:github.com/ann/one/", "repo:ann/one"),
        ("repo:https://gitlab.com/group/sub/name", "repo:group/sub/name"),
        ("repo:ann/one.git", "repo:ann/one"),
        ("repo:ann/one/", "repo:ann/one"),
        ("repo:ann/*", "user:ann"),
        ("repo:https://github.com/ann", "user:ann"),
        ("user:@ann", "user:ann"),
        ("user:https://github.com/ann/", "user:ann"),
    ],
)
def test_addresses_and_other_spellings_are_one_entry(text: str, entry: str) -> None:
    assert parse_entry(text) == entry


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("repo:ann", "did you mean user:ann"),
        ("repo:*/one", "can match no row"),
        ("repo:ann/o*", "can match no row"),
        ("repo:ann//one", "can match no row"),
        ("repo:ann/one\u200b", "can match no row"),
        ("repo:https://github.com/", "can match no row"),
        ("repo:https://github.com/ann/one/blob/main/a.py", r"leads into ann/one \(blob\)"),
        ("repo:ann/one/tree/main", "leads into ann/one"),
        ("user:@", "can match no row"),
        ("user:ann@example.org", "can match no row"),
    ],
)
def test_what_can_match_no_row_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_entry(text)


@pytest.mark.parametrize("line", ["ann/one", "repo:", "repo:ann", "user:ann/one", "file:123", "repo:a/b c", "FILE"])
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"user:ann\n\n{line}\n")
    with pytest.raises(
        InputError, match=r"list.txt: line 3: .*(is no entry|can match no row).*; write repo:OWNER/NAME"
    ):
        read_opt_out(path)


def test_a_list_that_is_missing_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_opt_out(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_opt_out(tmp_path / "bytes")
    named = Chain(parse_config({"source": {"opt_out": str(tmp_path / "none")}}))
    with pytest.raises(ConfigError, match=r"source\.opt_out: no file"):
        _ = named.opt_out


def test_the_list_moves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("user:ann\n")
    plain, with_list = Chain(parse_config({})), Chain(parse_config({"source": {"opt_out": str(path)}}))
    assert plain.key("report") == with_list.key("report")
    assert plain.settings_file("corpus") == with_list.settings_file("corpus")
    digest = with_list.opted_out
    assert digest == hashlib.sha256(b"user:ann\n").hexdigest()
    assert plain.opted_out is None


ENTRIES = ["repo:ann/one", "repo:bob/fork", "user:ann", "user:nobody", f"file:{content_id(normalise(text('c')))}"]


@pytest.mark.slow
def test_a_changed_list_touches_exactly_what_it_would_change(tmp_path: Path) -> None:
    """For all pairs of lists out of five entries: touched if and only if the files would be others."""
    lists = [entries for size in range(4) for entries in itertools.combinations(ENTRIES, size)]
    files, bytes_of = {}, {}
    for number, entries in enumerate(lists):
        files[entries] = corpus(tmp_path / str(number), "\n".join(entries))
        bytes_of[entries] = [path.read_bytes() for path in files[entries]]
    for before, after in itertools.product(lists, lists):
        assert touches(listed(*after), *files[before]) == (bytes_of[before] != bytes_of[after]), (before, after)


def test_files_that_are_missing_or_older_count_as_touched(tmp_path: Path) -> None:
    kept, rejected = corpus(tmp_path, None)
    assert not touches(NOBODY, kept, rejected)
    assert touches(NOBODY, kept, tmp_path / "none.parquet")
    assert touches(NOBODY, kept, kept)
    assert touches(listed("user:ann"), rejected, rejected)
    kept.write_bytes(kept.read_bytes()[:100])
    assert touches(listed("user:nobody"), kept, rejected)
