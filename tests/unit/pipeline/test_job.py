"""The frame of a job: rows are conserved, outputs appear together, a statement comes last."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from d3.config.load import parse_config
from d3.core.tables import TableWriter, read_notes, read_rows, scratch_folder
from d3.errors import D3Error, InputError
from d3.pipeline.job import Job
from d3.provenance.code_digest import data_digest
from d3.provenance.digest_cache import stamp
from d3.provenance.statement import settings_digest

SCHEMA = pa.schema([("id", pa.string())])


def source(folder: Path, rows: int = 5) -> Path:
    path = folder / "source.jsonl"
    path.write_text("".join(f'{{"id": "{number}", "more": 1}}\n' for number in range(rows)))
    return path


def run(folder: Path, *, params: dict[str, object] | None = None) -> None:
    """Keep even rows in two tables and a file; drop the others."""
    with Job("corpus", config=None, settings=params) as job:
        first, second = job.table(folder / "a.parquet", SCHEMA), job.table(folder / "b.jsonl", SCHEMA)
        for row in job.rows(source(folder), SCHEMA):
            if int(row["id"]) % 2:
                job.drop("odd")
                continue
            first.write(row)
            second.write(row)
            job.keep()
        job.file(folder / "c.txt").write_text("text")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_outputs_and_statement_agree(tmp_path: Path) -> None:
    run(tmp_path, params={"seed": 1})
    assert names(tmp_path) == ["a.parquet", "a.parquet.prov.json", "b.jsonl", "c.txt", "source.jsonl"]
    assert [row["id"] for row in read_rows(tmp_path / "a.parquet", SCHEMA)] == ["0", "2", "4"]
    counts = {"stage": "corpus", "read": 5, "kept": 3, "dropped": {"odd": 2}}
    assert read_notes(tmp_path / "a.parquet") == counts
    statement = json.loads((tmp_path / "a.parquet.prov.json").read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"] == {"stage": "corpus", "config": settings_digest({"seed": 1}), "prompts": {}}
    for listed, expected in ((statement["subject"], "abc"), (build["resolvedDependencies"], "s")):
        assert [Path(item["name"]).name[0] for item in listed] == list(expected)
        for item in listed:
            path = Path(item["name"])
            assert item["digest"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
            assert item["annotations"]["bytes"] == path.stat().st_size
            assert item["annotations"]["state"] == stamp(path).state
    assert [item["annotations"].get("rows") for item in statement["subject"]] == [3, 3, None]
    assert build["resolvedDependencies"][0]["annotations"]["rows"] == 5
    assert statement["predicate"]["runDetails"]["byproducts"][0] == {"name": "rows", "content": counts}


def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path)
    first = {name: (tmp_path / name).read_bytes() for name in ("a.parquet", "b.jsonl", "c.txt")}
    run(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in first} == first


def test_an_error_leaves_the_old_outputs_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}

    def fail(error: type[BaseException]) -> None:
        with Job("corpus", config=None) as job:
            job.table(tmp_path / "a.parquet", SCHEMA).write({"id": "new"})
            job.file(tmp_path / "c.txt").mkdir()
            raise error

    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            fail(error)
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize(("kept", "dropped"), [(4, 0), (4, 2), (0, 0)])
def test_lost_and_invented_rows_stop_the_job(tmp_path: Path, kept: int, dropped: int) -> None:
    path = source(tmp_path)

    def miscount() -> None:
        with Job("corpus", config=None) as job:
            table = job.table(tmp_path / "a.parquet", SCHEMA)
            for row in job.rows(path, SCHEMA):
                table.write(row)
            job.keep(kept)
            job.drop("why", dropped)

    with pytest.raises(D3Error, match="neither kept nor dropped"):
        miscount()
    assert names(tmp_path) == ["source.jsonl"]


def test_rows_that_are_only_looked_up_are_not_counted(tmp_path: Path) -> None:
    path = source(tmp_path)
    with Job("corpus", config=None) as job:
        job.file(tmp_path / "a.txt").write_text(str(len(list(job.side_rows(path, SCHEMA)))))
    assert (tmp_path / "a.txt").read_text() == "5"
    statement = json.loads((tmp_path / "a.txt.prov.json").read_text())
    assert [item["name"] for item in statement["predicate"]["buildDefinition"]["resolvedDependencies"]] == [str(path)]


def test_a_link_to_an_input_or_another_mode_does_not_stop_the_job(tmp_path: Path) -> None:
    path = source(tmp_path)
    with Job("corpus", config=None) as job:
        table = job.table(tmp_path / "a.parquet", SCHEMA)
        for row in job.rows(path, SCHEMA):
            table.write(row)
            job.keep()
        (tmp_path / "snapshot").hardlink_to(path)
        path.chmod(0o600)


def test_an_input_that_changes_meanwhile_stops_the_job(tmp_path: Path) -> None:
    path = source(tmp_path)

    def change() -> None:
        with Job("corpus", config=None) as job:
            job.table(tmp_path / "a.parquet", SCHEMA)
            for _ in job.rows(path, SCHEMA):
                job.keep()
            path.write_text("")

    with pytest.raises(D3Error, match=r"source\.jsonl: changed while the job read it"):
        change()
    assert names(tmp_path) == ["source.jsonl"]


def test_models_and_prompts_are_told(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("w")
    (tmp_path / "prompt.jinja").write_text("p")
    with Job("corpus", config=None) as job:
        job.table(tmp_path / "a.jsonl", SCHEMA)
        job.model(str(tmp_path / "model"), "abc")
        job.model("owner/elsewhere", "abc")
        job.prompt("grades.prompt", tmp_path / "prompt.jinja")
    build = json.loads((tmp_path / "a.jsonl.prov.json").read_text())["predicate"]["buildDefinition"]
    assert build["externalParameters"]["prompts"] == {"grades.prompt": data_digest(tmp_path / "prompt.jinja")}
    (model,) = build["resolvedDependencies"]
    assert model["annotations"].items() >= {"role": "model", "revision": "abc", "bytes": 1}.items()
    with pytest.raises(D3Error, match="no such template"), Job("corpus", config=None) as job:
        job.prompt("grades.prompt", tmp_path / "absent.jinja")


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(D3Error, match=r"missing\.jsonl: no such file or folder"), Job("corpus", config=None) as job:
        job.input(tmp_path / "missing.jsonl")


def test_outputs_of_which_some_are_old_have_no_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    real = TableWriter.publish

    def failing(table: TableWriter) -> None:
        if table.path.name == "b.jsonl":
            raise OSError("no space left")
        real(table)

    monkeypatch.setattr(TableWriter, "publish", failing)
    with pytest.raises(OSError, match="no space"):
        run(tmp_path)
    assert names(tmp_path) == ["a.parquet", "b.jsonl", "c.txt", "source.jsonl"]
    monkeypatch.undo()
    run(tmp_path)
    assert "a.parquet.prov.json" in names(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_leaves_nothing_under_a_final_name(tmp_path: Path, kill: signal.Signals) -> None:
    program = f"""
        import os, pyarrow as pa
        from pathlib import Path
        from d3.pipeline.job import Job
        folder = Path({str(tmp_path)!r})
        with Job("corpus", config=None) as job:
            table = job.table(folder / "a.parquet", pa.schema([("id", pa.string())]))
            part = job.file(folder / "c")
            part.mkdir()
            (part / "weights").write_text("half")
            for row in range(1500):
                table.write({{"id": str(row)}})
            os.kill(os.getpid(), {int(kill)})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    assert done.returncode == -kill
    assert all(name.startswith(".") and name.endswith(".part") for name in names(tmp_path))
    with Job("corpus", config=None) as job:
        job.table(tmp_path / "a.parquet", SCHEMA)
        job.file(tmp_path / "c").mkdir()
    assert names(tmp_path) == ["a.parquet", "a.parquet.prov.json", "c"]
    assert os.listdir(tmp_path / "c") == []


def test_what_a_job_left_on_another_machine_goes_with_its_next_run(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.jsonl", "c.txt", "a.parquet.prov.json"):
        (tmp_path / f".{name}.another-node-7.part").write_text("half")
    (tmp_path / ".c.txt.another-node-7-old.part").mkdir()
    (tmp_path / ".d.txt.another-node-7.part").write_text("of another job")
    run(tmp_path)
    assert [name for name in names(tmp_path) if name.endswith(".part")] == [".d.txt.another-node-7.part"]


def test_scratch_folders_of_another_machine_go(tmp_path: Path) -> None:
    (tmp_path / ".a.dolma.another-node-7.part").mkdir()
    with scratch_folder(tmp_path / "a.npy", "dolma") as folder:
        assert names(tmp_path) == [folder.name]


@pytest.mark.parametrize(("stage", "fewest"), [("corpus", 1), ("dataset", 20)])
def test_a_job_that_loses_every_row_fails_unless_they_were_few(tmp_path: Path, stage: str, fewest: int) -> None:
    def lose(rows: int, **source: bool) -> None:
        with Job(stage, config=parse_config({"source": source})) as job:
            job.read = rows
            job.drop("wrong_type", rows, detail="column content is 7")
            job.file(tmp_path / "out").write_text("")

    lose(fewest - 1)
    lose(fewest, allow_empty=True)
    with pytest.raises(InputError, match=f"{stage} keeps none of {fewest} rows: .* wrong_type .column content is 7"):
        lose(fewest)
