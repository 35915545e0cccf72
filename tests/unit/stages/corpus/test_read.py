"""Broken shards and broken rows: one line that names the file, or a rejected row; nothing is lost."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from d3.config.load import parse_config
from d3.core import schemas
from d3.core.tables import Row, count_rows, read_notes, read_rows
from d3.errors import D3Error, InputError
from d3.sources.shard import read_shard
from d3.stages.corpus.stage import run
from helpers.corpus_tables import open_config, run_corpus, stack_row, write_lines, write_shard

GOOD = "import os\n\n\ndef area(side):\n    return side * side\n"

BROKEN: dict[str, tuple[Any, str]] = {
    "null": (None, "null_content"),
    "empty": ("", "empty"),
    "white space only": (" \n\t\n\f\n", "empty"),
    "byte order mark only": ("\ufeff", "empty"),
    "lone surrogate": ("x = '\ud800'\n", "lone_surrogate"),
    "NUL": ("x = 1\n\0\ny = 2\n", "nul_byte"),
    "2 MB line": ("x = '" + "a" * 2_000_000 + "'\n", "long_line"),
    "syntax error": ("def f(:\n    pass\n", "syntax_error"),
    "Python 2": ("print 'hello'\nexec code\n", "syntax_error"),
    "mixed indentation": ("if x:\n\ty = 1\n        z = 2\n", "syntax_error"),
    "two numbers in a row": ("name = 1 2\n", "syntax_error"),
    "form feed": ("x = 1\n\f\ny = 2\n", "line_separator"),
    "U+2028": ("x = 'a\u2028b'\n", "line_separator"),
    "carriage return alone": ("x = 1\ry = 2\n", "line_separator"),
    "next line": ("x = 'a\x85b'\n", "line_separator"),
    "deep parentheses": ("x = " + "(name,\n" * 5000 + ")" * 900 + "\n", "too_nested"),
    "long sum": ("x = (\n" + "name +\n" * 50_000 + "name)\n", "too_nested"),
    "long chain of names": ("x = (a\n" + ".name\n" * 50_000 + ")\n", "too_nested"),
    "only punctuation": ("(((\n" * 5, "few_alphanumerics"),
}
RAW: dict[str, tuple[dict[str, bytes], str]] = {
    "invalid UTF-8": ({"content": b"x = '\xff'\n"}, "invalid_utf8"),
    "Latin-1 with an accent at 0xED": ({"content": "x = 'río'\n".encode("latin-1")}, "invalid_utf8"),
    "truncated character at the end": ({"content": b"x = 1  # \xe2\x82"}, "invalid_utf8"),
    "surrogate written as three bytes": ({"content": b"x = '\xed\xa0\x80'\n"}, "lone_surrogate"),
    "invalid UTF-8 in the path": ({"max_stars_repo_path": b"caf\xe9.py"}, "invalid_utf8"),
    "invalid UTF-8 in the id": ({"hexsha": b"\xfe"}, "invalid_utf8"),
}


def all_rows() -> tuple[list[Row], list[str | None]]:
    """Broken rows with good ones between them, and the expected reasons (None: kept, "": any)."""
    rows, reasons = [], []
    for number, (content, reason) in enumerate(BROKEN.values()):
        rows += [stack_row(content), stack_row(f"{GOOD}\n\nside_{number} = area({number})\n")]
        reasons += [reason, None]
    return rows, reasons


def check_partition(kept: list[Row], rejected: list[Row], reasons: list[str | None]) -> None:
    assert sorted(line["row"] for line in kept + rejected) == list(range(len(reasons)))
    assert [line["row"] for line in kept] == [number for number, reason in enumerate(reasons) if reason is None]
    found = {line["row"]: line["reason"] for line in rejected}
    wanted = {number: reason or found[number] for number, reason in enumerate(reasons) if reason is not None}
    assert found == wanted
    assert all(line["detail"] for line in rejected)


def test_every_broken_row_of_a_parquet_shard_has_its_reason(tmp_path: Path) -> None:
    rows, reasons = all_rows()
    for columns, reason in RAW.values():
        rows.append(stack_row(GOOD, **columns))
        reasons.append(reason)
    rows.append(stack_row(GOOD, max_stars_repo_licenses=[b"MIT", b"\xff"]))
    reasons.append("invalid_utf8")
    kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows))
    check_partition(kept, rejected, reasons)
    notes = read_notes(tmp_path / "out" / "kept.parquet")
    assert notes["read"] == len(rows) == notes["kept"] + sum(notes["dropped"].values())


def test_a_broken_row_keeps_its_hexsha_where_it_can_be_read(tmp_path: Path) -> None:
    rows = [stack_row(GOOD, content=b"\xff", hexsha="ab"), stack_row(GOOD, hexsha=b"\xfe"), stack_row("", hexsha="cd")]
    _, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows))
    assert [line["hexsha"] for line in rejected] == ["ab", None, "cd"]


def test_every_broken_line_of_a_json_shard_has_its_reason(tmp_path: Path) -> None:
    rows, reasons = all_rows()
    lines: list[Row | bytes] = [*rows]
    without = stack_row(GOOD)
    del without["content"], without["size"]
    for line, reason in (
        (b'{"hexsha": "a", ', "malformed_json"),
        (b"[1, 2]", "malformed_json"),
        (b"7", "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"hexsha": "\xff"}', "invalid_utf8"),
        (without, "missing_column"),
        ({"blob_id": "ab"}, "missing_column"),
        ({"files": [{"blob_id": "ab"}]}, "missing_column"),
        ({"repo_name": "o/r", "files": []}, "no_files"),
        (stack_row(GOOD, size="many"), "wrong_type"),
        (stack_row(GOOD, size=10**30), "wrong_type"),
        (stack_row(GOOD, size=1.5), "wrong_type"),
        (stack_row(GOOD, content=["x = 1"]), "wrong_type"),
        (stack_row(GOOD, lang={"name": "Python"}), "wrong_type"),
        (stack_row(GOOD, max_stars_repo_licenses=[["MIT"]]), "wrong_type"),
        (stack_row(GOOD, max_stars_count=float("inf")), "wrong_type"),
        (stack_row(GOOD, max_stars_count=True), "wrong_type"),
        (stack_row(GOOD, max_stars_repo_path="\ud800.py"), "lone_surrogate"),
    ):
        lines.append(line)
        reasons.append(reason)
    kept, rejected = run_corpus(write_lines(tmp_path / "a.jsonl", lines))
    check_partition(kept, rejected, reasons)
    assert next(line["detail"] for line in rejected if line["reason"] == "missing_column") == "content"


def test_harmless_oddities_are_normalised_and_kept(tmp_path: Path) -> None:
    rows = [
        stack_row("\ufeff" + GOOD),
        stack_row(GOOD.replace("\n", "\r\n") + "\r\n# end"),
        stack_row("\n\n" + GOOD + "# é 😀\n \n"),
    ]
    kept, rejected = run_corpus(write_shard(tmp_path / "a.parquet", rows))
    assert rejected == []
    assert [line["text"] for line in kept] == [
        GOOD.strip(),
        GOOD + "\n# end",
        GOOD + "# é 😀",
    ]


# --- files that are broken as a whole -------------------------------------------------------------


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        run_corpus(path)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.remedy
    for word in (str(path), *words):
        assert word in message
    out = path.parent / "out"
    assert not out.exists() or list(out.iterdir()) == []


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([stack_row(GOOD)], schema=schemas.STACK)
    pq.write_table(table.drop_columns(["content", "lang"]), tmp_path / "a.parquet")
    assert_refused(tmp_path / "a.parquet", "no column `content` or `text`", "hexsha", "columns: {content: NAME}")


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([stack_row(GOOD)], schema=schemas.STACK)
    pq.write_table(table.append_column("content", table["content"]), tmp_path / "a.parquet")
    assert_refused(tmp_path / "a.parquet", "more than one column content")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content", 7),
        ("content", ["x = 1"]),
        ("size", "many"),
        ("size", 1.5),
        ("max_stars_repo_licenses", [["MIT"]]),
        ("alphanum_fraction", ["a"]),
        ("max_stars_repo_path", {"a": 1}),
    ],
)
def test_a_wrong_type_is_judged_alike_in_both_formats_and_nothing_kept_is_no_success(
    tmp_path: Path, name: str, value: object
) -> None:
    row = {**stack_row(GOOD), name: value}
    table = pa.Table.from_pylist([stack_row(GOOD)] * 2, schema=schemas.STACK)
    table = table.set_column(table.schema.names.index(name), name, pa.array([value] * 2))
    pq.write_table(table, tmp_path / "a.parquet")
    write_lines(tmp_path / "b.jsonl", [row, row])
    rejected = [run_corpus(tmp_path / shard)[1] for shard in ("a.parquet", "b.jsonl")]
    assert [[line["reason"] for line in lines] for lines in rejected] == [["wrong_type"] * 2] * 2
    assert all(f"column {name} is " in line["detail"] for lines in rejected for line in lines)
    strict = parse_config({"corpus": open_config().corpus.model_dump()})
    for shard in ("a.parquet", "b.jsonl"):
        with pytest.raises(InputError, match=rf"keeps none of 2 rows: 2 wrong_type \(column {name} is .*allow_empty"):
            run_corpus(tmp_path / shard, strict)


ODD = {
    "max_stars_count": (float("nan"), None),
    "max_issues_count": ("12", 12),
    "size": (3.0, 3),
    "avg_line_length": (float("nan"), None),
    "max_forks_repo_licenses": ("MIT", ["MIT"]),
}


@pytest.mark.parametrize("shard", ["a.parquet", "a.jsonl"])
def test_what_pandas_and_other_writers_make_of_missing_values_is_taken(tmp_path: Path, shard: str) -> None:
    rows = [{**stack_row(GOOD), **{name: value for name, (value, _) in ODD.items()}}]
    if shard == "a.jsonl":
        write_lines(tmp_path / shard, rows)
    else:
        pq.write_table(pa.table({name: pa.array([value]) for name, value in rows[0].items()}), tmp_path / shard)
    kept, rejected = run_corpus(tmp_path / shard)
    assert rejected == []
    assert {name: kept[0]["metadata"][name] for name in ODD} == {name: value for name, (_, value) in ODD.items()}


def test_times_become_text_and_columns_of_nulls_may_have_any_type(tmp_path: Path) -> None:
    name = "max_stars_repo_stars_event_{}_datetime"
    moment = 1_577_232_232_000_000_001
    table = pa.table(
        {
            "content": [GOOD],
            name.format("min"): pa.array([moment], pa.timestamp("ns", "America/New_York")),
            name.format("max"): pa.array([moment], pa.timestamp("ns")),
            "max_stars_count": pa.array([None], pa.int32()),
            "lang": pa.array([None], pa.float64()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    kept, _ = run_corpus(tmp_path / "a.parquet")
    metadata = kept[0]["metadata"]
    assert metadata[name.format("min")] == "2019-12-25T00:03:52.000Z"
    assert metadata[name.format("max")] == "2019-12-25T00:03:52.000"
    assert (metadata["max_stars_count"], metadata["lang"]) == (None, None)


def test_byte_order_marks_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    line = json.dumps({"text": GOOD}).encode()
    (tmp_path / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + line + b"\r\n\n  \n" + line.replace(b"area", b"edge") + b"\n\n"
    )
    kept, rejected = run_corpus(tmp_path / "a.jsonl")
    assert ([line["row"] for line in kept], rejected) == ([0, 1], [])
    assert read_notes(tmp_path / "out" / "kept.parquet")["read"] == 2


def test_zeros_behind_an_archive_are_padding(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"text": GOOD}).encode()) + bytes(1000))
    assert len(run_corpus(path)[0]) == 1
    path.write_bytes(path.read_bytes() + b"?")
    with pytest.raises(InputError, match="truncated or damaged"):
        run_corpus(path)


def test_columns_that_mean_the_same_are_taken(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([stack_row(GOOD)], schema=schemas.STACK)
    wide = {
        "content": pa.large_string(),
        "lang": pa.dictionary(pa.int32(), pa.string()),
        "size": pa.int32(),
        "max_issues_repo_licenses": pa.large_list(pa.large_string()),
        "avg_line_length": pa.float32(),
    }
    for name, kind in wide.items():
        at = table.schema.names.index(name)
        table = table.set_column(at, name, table[name].cast(kind))
    at = table.schema.names.index("max_forks_count")
    table = table.set_column(at, "max_forks_count", pa.nulls(1))
    pq.write_table(table.append_column("index", pa.array([3])), tmp_path / "a.parquet")
    kept, rejected = run_corpus(tmp_path / "a.parquet")
    assert rejected == []
    assert kept[0]["text"] == GOOD.strip()
    assert kept[0]["metadata"]["max_issues_repo_licenses"] == ["MIT"]
    assert kept[0]["metadata"]["max_forks_count"] is None


def test_columns_in_another_order_and_further_ones_change_no_row(tmp_path: Path) -> None:
    rows = [stack_row(GOOD), stack_row(None), stack_row(f"{GOOD}\n\nprint(area(3))\n", max_stars_count=None)]
    table = pa.Table.from_pylist(rows, schema=schemas.STACK)
    names = random.Random(4).sample(table.schema.names, len(table.schema.names))
    more = table.select(names).append_column("nested", pa.array([{"a": [None, {"b": None}]}, None, {"a": None}]))
    found = []
    for folder, form in (("plain", table), ("other", more)):
        (tmp_path / folder).mkdir()
        pq.write_table(form, tmp_path / folder / "s.parquet")
        found.append(run_corpus(tmp_path / folder / "s.parquet"))
    assert found[0] == found[1]
    assert (len(found[0][0]), [row["reason"] for row in found[0][1]]) == (2, ["null_content"])


def test_nulls_within_lists_are_no_licenses_and_no_text(tmp_path: Path) -> None:
    rows = [stack_row(GOOD, **{f"max_{event}_repo_licenses": value for event in ("stars", "issues", "forks")})
            for value in ([None, "MIT"], [None], None)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.STACK), tmp_path / "s.parquet")
    config = parse_config({"corpus": {"held_out": 1}, "contamination": {"share": None}})
    kept, rejected = tmp_path / "kept.parquet", tmp_path / "rejected.parquet"
    run(config, [tmp_path / "s.parquet"], kept, rejected)
    assert [row["row"] for row in read_rows(kept, schemas.CORPUS)] == [0]
    assert [row["reason"] for row in read_rows(rejected, schemas.REJECTED)] == ["licence", "licence"]


def test_a_row_group_of_60_mb_is_not_in_memory_whole(tmp_path: Path) -> None:
    draw, path = random.Random(2), tmp_path / "s.parquet"
    texts = [f"x = '{draw.randbytes(1500).hex()}'" for _ in range(20_000)]
    pq.write_table(pa.table({"content": texts}), path, row_group_size=len(texts), compression="none")
    del texts
    assert pq.read_metadata(path).num_row_groups == 1
    assert path.stat().st_size > 60_000_000
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() for _ in read_shard(path, {}))
    assert peak - before < 30_000_000


def test_files_that_are_no_parquet_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    sound = write_shard(tmp_path / "sound.parquet", [stack_row(GOOD)]).read_bytes()
    for content in (b"", b"print('hello')\n" * 40, sound[:-1], sound[: len(sound) // 2], sound[:4] + sound[-4:]):
        path.write_bytes(content)
        assert_refused(path)
    path.unlink()
    path.mkdir()
    assert_refused(path)


def test_missing_files_and_foreign_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(D3Error, match="no such file"):
        run_corpus(tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("content\nx = 1\n")
    assert_refused(tmp_path / "a.csv", "not a table", ".parquet")


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_damage_in_the_middle_of_a_parquet_file_is_no_traceback(tmp_path: Path, compression: str) -> None:
    rows = [stack_row(f"{GOOD}\nvalue = {number}\n") for number in range(60)]
    sound = write_shard(
        tmp_path / "sound.parquet", rows, compression=compression, write_page_checksum=True, row_group_size=20
    ).read_bytes()
    path = tmp_path / "a.parquet"
    drawn = random.Random(5)
    refused = []
    for _ in range(40):
        at = drawn.randrange(4, len(sound))
        path.write_bytes(sound[:at] + bytes([sound[at] ^ (1 << drawn.randrange(8))]) + sound[at + 1 :])
        try:
            kept, rejected = run_corpus(path)
        except D3Error as error:
            refused.append(str(error))
        else:
            assert len(kept) + len(rejected) == len(rows)
    assert len(refused) > 10
    assert all(str(path) in message for message in refused)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_truncated_and_damaged_archives_are_refused(tmp_path: Path, suffix: str) -> None:
    text = b"".join(json.dumps(stack_row(f"{GOOD}\nvalue = {number}\n")).encode() + b"\n" for number in range(200))
    packed = gzip.compress(text) if suffix == "gz" else zstandard.ZstdCompressor().compress(text)
    path = tmp_path / f"a.jsonl.{suffix}"
    middle = len(packed) // 2
    for content in (packed[:middle], packed[:-1], packed[:middle] + b"?" * 40 + packed[middle + 40 :], text):
        path.write_bytes(content)
        assert_refused(path, "truncated or damaged")


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_archives_of_several_pieces_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    pieces = [json.dumps(stack_row(f"{GOOD}\nvalue = {number}\n")).encode() + b"\n" for number in range(3)]
    pack = gzip.compress if suffix == "gz" else zstandard.ZstdCompressor().compress
    path = tmp_path / f"a.jsonl.{suffix}"
    path.write_bytes(b"".join(map(pack, pieces)))
    kept, _ = run_corpus(path)
    assert [line["row"] for line in kept] == [0, 1, 2]


def test_an_empty_shard_is_an_empty_corpus(tmp_path: Path) -> None:
    assert run_corpus(write_shard(tmp_path / "a.parquet", [])) == ([], [])
    (tmp_path / "a.jsonl").touch()
    assert run_corpus(tmp_path / "a.jsonl") == ([], [])


# --- tables of the chain itself -------------------------------------------------------------------


def test_a_table_of_another_stage_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [stack_row(GOOD)])
    with pytest.raises(InputError, match="no column id, original, text"):
        list(read_rows(path, schemas.CORPUS))
    pq.write_table(pa.table({"id": ["a"], "score": ["high"]}), tmp_path / "b.parquet")
    schema = pa.schema([("id", pa.string()), ("score", pa.int8())])
    with pytest.raises(InputError, match="column score is string"):
        list(read_rows(tmp_path / "b.parquet", schema))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "a"}', "line 2 has no 'score'"),
        (b'{"id": "a", "score": "high"}', "line 2 is no row"),
        (b'{"id": 5, "score": 1}', "line 2 is no row"),
        (b'{"id": "a", "score": 1', "line 2 is no row"),
        (b'{"id": "\\ud800", "score": 1}', "line 2 is no row"),
        (b'{"id": "\xff", "score": 1}', "line 2 is no row"),
        (b"null", "line 2 is no row"),
    ],
)
def test_a_faulty_line_of_a_table_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "a", "score": 1}\n' + line)
    schema = pa.schema([("id", pa.string()), ("score", pa.int8())])
    with pytest.raises(InputError, match=message):
        list(read_rows(path, schema))


def test_tables_that_cannot_be_read_are_named_when_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n" * 1000)[:-9])
    with pytest.raises(InputError, match="truncated"):
        count_rows(path)
    with pytest.raises(InputError, match="no such file"):
        count_rows(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match="no such file"):
        list(read_rows(tmp_path / "b.jsonl.zst", schemas.PAIRS))


def test_invalid_text_in_a_table_of_the_chain_is_damage(tmp_path: Path) -> None:
    raw = pa.array([b"\xff"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    pq.write_table(pa.table({"id": text}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="damaged"):
        list(read_rows(tmp_path / "a.parquet", pa.schema([("id", pa.string())])))
