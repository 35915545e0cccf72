"""The index on a small made-up run: what is read, what is forgotten, what damage does, and how trees are shown."""

import json
from pathlib import Path

import pytest

from d3.audit.index import INDEX, build, licences_of, newer_statements, open_index
from d3.audit.job_graph import Finding, find_target, load
from d3.audit.statements import enclosing, group_of, name_below, read_finished, read_statement, stage_of
from d3.audit.trace.trace import Tracer
from d3.audit.trace.tree import Node, as_json, as_mermaid, as_text
from d3.audit.verify.index import check_index
from d3.audit.verify.statements import check_links, check_orphans
from d3.audit.verify.verify import rebuild, verify
from d3.cli import main
from d3.errors import D3Error, InputError
from d3.provenance.statement import STATEMENT_TYPE
from helpers.fake_run import LABELS, item, make_run, write_statement

EMPTY = {
    "_type": STATEMENT_TYPE,
    "subject": [],
    "predicate": {
        "buildDefinition": {"externalParameters": {"stage": "corpus", "config": "", "prompts": {}}},
        "runDetails": {},
    },
}
FILES = 4
SHARDS = 3
JOBS = 7 * SHARDS + 1


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path, FILES * SHARDS * LABELS, SHARDS)
    return tmp_path


def statement(root: Path, stage: str) -> Path:
    return sorted(root.glob(f"results/{stage}/**/*.prov.json"))[0]


def test_only_new_and_changed_statements_are_read_again(run: Path) -> None:
    first = build(run)
    assert (first.jobs, first.new, first.gone) == (JOBS, JOBS, 0)
    assert first.rows == FILES * SHARDS * (3 + 2 * LABELS)
    again = build(run)
    assert (again.jobs, again.new, again.rows) == (JOBS, 0, first.rows)
    path = statement(run, "grades")
    path.write_text(path.read_text() + "\n")
    assert build(run).new == 1
    assert build(run).rows == first.rows
    path.unlink()
    with open_index(run) as connection:
        assert newer_statements(run, connection)
    last = build(run)
    assert (last.jobs, last.gone, last.rows) == (JOBS - 1, 1, first.rows - FILES)


@pytest.mark.parametrize("folder", ["id=5", "metadata=1/shard=7", "w[1]", "a*b", "~"])
def test_the_name_of_the_folder_is_no_pattern_and_no_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    sound, odd = tmp_path / "sound", tmp_path / folder
    rows = []
    for root in (sound, odd):
        root.mkdir(parents=True)
        make_run(root, FILES * SHARDS * LABELS, SHARDS)
        monkeypatch.chdir(root)
        assert build(Path()).rows == FILES * SHARDS * (3 + 2 * LABELS)
        with open_index(Path()) as connection:
            rows.append(connection.execute("select * from files order by all").fetchall())
    assert rows[0] == rows[1] != []


def test_a_folder_that_the_data_base_cannot_write_is_one_line(tmp_path: Path) -> None:
    for name in ("a?b", "back\\slash"):
        with pytest.raises(D3Error, match="must not contain `\\?`"):
            build(tmp_path / name)


def test_a_build_from_nothing_and_one_in_steps_know_the_same(run: Path) -> None:
    hidden = statement(run, "corpus")
    aside = hidden.rename(run / "aside")
    build(run)
    aside.rename(hidden)
    build(run)
    fresh = run / "fresh.duckdb"
    build(run, fresh)
    for table, columns in (("rows", 'a.path, "row", key, sample, part'), ("files", "a.path, id, shard, hexsha")):
        query = f"select {columns} from {table} t join artefacts a on a.id = t.artefact order by all"
        query = query.replace("a.path, id", "a.path, t.id")
        with open_index(run) as one, open_index(run, fresh) as other:
            assert one.execute(query).fetchall() == other.execute(query).fetchall()


def test_faulty_statements_and_tables_are_left_out(run: Path) -> None:
    whole = build(run).rows
    (run / INDEX).unlink()
    statement(run, "labels").write_text("{")
    sorted(run.glob("results/diffs/*/*.parquet"))[0].write_bytes(b"PAR1")
    built = build(run)
    assert len(built.faulty) == 1
    assert "is no statement: damaged" in built.faulty[0]
    assert built.rows == whole - FILES * LABELS - FILES


def test_a_foreign_or_missing_index_is_an_error_with_a_remedy(run: Path) -> None:
    with pytest.raises(D3Error, match="run `d3 lineage`"):
        open_index(run)
    (run / INDEX).parent.mkdir(parents=True)
    (run / INDEX).write_bytes(b"something else")
    with pytest.raises(D3Error, match="delete it"):
        open_index(run)
    assert build(run).jobs == JOBS


def test_licences_are_counted(run: Path) -> None:
    build(run)
    with open_index(run) as connection:
        counts = licences_of(connection, list(load(run).statements))
    assert sum(counts.values()) == FILES * SHARDS
    assert set(counts) == {"MIT", "Apache-2.0", "BSD-3-Clause"}


def test_traces_of_rows_files_and_models(run: Path) -> None:
    build(run)
    with open_index(run) as connection:
        tracer = Tracer(run, connection, limit=2)
        table = sorted(run.glob("results/dataset/*/data/*.parquet"))[0].relative_to(run).as_posix()
        row = tracer.trace(f"{table}#3")
        assert [child.text.split("  ")[0] for child in row.children][-1] == "Stack row"
        identifier = connection.execute("select id from files order by id").fetchall()[0][0]
        file = as_text(tracer.trace(identifier[:12]))
        assert file.count("dataset  ") == LABELS
        assert "model trained on it" in file
        model = as_text(tracer.trace("results/midtrain/0123456789ab/model"))
        assert f"{FILES * SHARDS} source files behind this" in model
        assert f"… {FILES * SHARDS - 2} more" in model
        with pytest.raises(InputError, match="no row 99"):
            tracer.trace(f"{table}#99")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"_type": "x", "predicate": {"buildDefinition": {}}}', "is no statement of this version"),
        (json.dumps(EMPTY), "no subject or no stage"),
        (json.dumps(EMPTY | {"subject": [{"name": "a", "digest": {}}]}), "KeyError: 'sha256'"),
    ],
)
def test_what_is_no_statement_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.prov.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_statement(tmp_path, path)


def test_groups_and_stages_of_paths() -> None:
    assert group_of("results/corpus/key/rejected/a.parquet") == "results/corpus/key"
    assert group_of("/data/stack/a.parquet") == "/data/stack"
    assert group_of("resources/models/m@1") == "resources/models/m@1"
    assert stage_of("results/corpus/key/a.parquet") == "corpus"
    assert stage_of("/data/results/a.parquet") == ""


@pytest.mark.parametrize("times", [{}, {"startedOn": "now", "finishedOn": "now"}])
def test_a_statement_without_times_is_not_that_of_a_finished_job(run: Path, times: dict[str, str]) -> None:
    path = statement(run, "grades")
    assert read_finished(path, run) == read_statement(run, path)
    body = json.loads(path.read_text())
    body["predicate"]["runDetails"]["metadata"] = times
    path.write_text(json.dumps(body))
    assert read_finished(path, run) is None
    assert read_finished(run / "absent", run) is None


def test_names_of_files_are_those_of_statements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results/corpus").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "results")
    for text in ("corpus", "results/corpus/", f"{tmp_path}/results/corpus", "../results/corpus"):
        assert name_below(tmp_path, text) == "results/corpus"
    assert name_below(tmp_path, f"{tmp_path}/results/lost/a") == "results/lost/a"
    assert name_below(tmp_path, "/data/shards/") is None
    assert list(enclosing("results/a/b")) == ["results/a/b", "results/a", "results"]


def test_a_hostile_statement_removes_nothing_outside(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "kept"
    outside.write_text("kept")
    path = statement(run, "grades")
    body = json.loads(path.read_text())
    body["subject"][0]["name"] = str(outside)
    path.write_text(json.dumps(body))
    found = verify(run).wrong
    assert any("outside of the working folder" in str(finding) for finding in found)
    removed, left = rebuild(run, found)
    assert outside.exists()
    assert not path.exists()
    assert path.relative_to(run).as_posix() in removed
    assert [finding.path for finding in left] == [str(outside)]


@pytest.mark.parametrize(("role", "wrong"), [("opt_out", False), ("model", True)])
def test_an_opt_out_list_may_grow_but_no_other_input_changes(run: Path, role: str, wrong: bool) -> None:
    path = statement(run, "grades")
    body = json.loads(path.read_text())
    (run / "list").write_text("one")
    digest = {"sha256": "0" * 64}
    item = {"name": "list", "digest": digest, "annotations": {"role": role}}
    body["predicate"]["buildDefinition"]["resolvedDependencies"].append(item)
    path.write_text(json.dumps(body))
    found = [finding for finding in check_links(load(run)) if "list" in finding.what]
    assert [not finding.note for finding in found] == [wrong]


@pytest.mark.parametrize("name", ["results/labels", "config.yaml", "results/../config.yaml", "work/a"])
def test_no_statement_removes_what_others_made(run: Path, name: str) -> None:
    (run / "config.yaml").write_text("mine")
    path = statement(run, "grades")
    body = json.loads(path.read_text())
    body["subject"].append({"name": name, "digest": {"sha256": "0" * 64}, "annotations": {}})
    path.write_text(json.dumps(body))
    finding = Finding(path=name, what="", jobs=(path.relative_to(run).as_posix(),))
    removed, left = rebuild(run, [finding])
    assert name not in removed
    assert [item.path for item in left] == [name]
    assert (run / "config.yaml").exists()
    assert statement(run, "labels").exists()


@pytest.fixture
def linked(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make `results` a link to another disk, as on a cluster with scratch space."""
    scratch = tmp_path_factory.mktemp("scratch") / "run-results"
    (run / "results").rename(scratch)
    (run / "results").symlink_to(scratch)
    return run


def test_everything_works_where_results_is_a_link(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = sorted(linked.glob("results/labels/*/*.parquet"))[0]
    name = table.relative_to(linked).as_posix()
    monkeypatch.chdir(linked / "results")
    for text in (name, str(table), str(table.resolve()), name.removeprefix("results/")):
        assert name_below(linked, text) == name
        assert name in find_target(load(linked), text).path
    table.write_bytes(b"")
    removed, left = rebuild(linked, [finding for finding in verify(linked).wrong if finding.path == name])
    assert removed == [name, f"{name}.prov.json"]
    assert left == []
    assert not table.exists()
    assert rebuild(linked, [Finding(path=name, what="", jobs=(f"{name}.prov.json",))]) == ([], [])


def test_what_lies_behind_other_links_is_told_not_removed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("disk") / "labels"
    (run / "results/labels").rename(elsewhere)
    (run / "results/labels").symlink_to(elsewhere)
    path = statement(run, "labels")
    removed, left = rebuild(run, [Finding(path="", what="", jobs=(path.relative_to(run).as_posix(),))])
    assert removed == []
    assert {finding.what for finding in left} == {"not removed: it lies outside of results, resources, work/journal"}
    assert path.exists()


def test_files_behind_links_are_looked_at_once(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    disk = tmp_path_factory.mktemp("disk")
    (disk / "more.parquet").write_bytes(b"x")
    (disk / "loop").symlink_to(disk)
    data = sorted(run.glob("results/dataset/*/data"))[0]
    (data / "away").symlink_to(disk)
    (data / "home").symlink_to(run / "results/labels")
    (data / "up").symlink_to(run)
    name = data.relative_to(run).as_posix()
    found = {finding.path for finding in check_orphans(load(run))}
    assert found == {f"{name}/away/more.parquet", f"{name}/home"}
    assert len(load(run).statements) == JOBS


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("update files set licences = 'MIT'", "the source files of"),
        ("update files set repository = 'o/r' where \"row\" = 0", "the source files of"),
        ("update rows set key = key + 1", "rows of"),
        ("delete from edges where artefact = 0 or job = 3", "the inputs of"),
        ("update edges set sha256 = 'no' where job = 3", "the inputs of"),
        ("update artefacts set sha256 = 'no' where job = 3", "the outputs of"),
        ('update artefacts set "bytes" = 1 where job is null', "the input"),
        ("update jobs set kept = kept + 1", "the job of"),
        ("update jobs set sha256 = 'no'", "than there is, of the same time"),
        ("create or replace view parents as select 0 as child, 0 as parent", "other tables or views"),
    ],
)
def test_an_edited_index_is_found(run: Path, query: str, words: str) -> None:
    import duckdb

    write_statement(run, "midtrain", [item("results/midtrain/k/model")], [item("/far/model", bytes=5)])
    build(run)
    assert list(check_index(load(run), set())) == []
    with duckdb.connect(str(run / INDEX)) as connection:
        connection.execute(query)
    assert {finding.note for finding in check_index(load(run), set()) if words in finding.what} == {False}
    (run / INDEX).unlink()
    build(run)
    statement(run, "labels").unlink()
    assert [finding.note for finding in check_index(load(run), set())] == [True]


HOSTILE = "o/\x1b]0;mine\x07\x1b[2J\u202e\nnote  nothing wrong"


def test_hostile_names_of_repositories_forge_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import duckdb

    build(run)
    with duckdb.connect(str(run / INDEX)) as connection:
        connection.execute("update files set repository = ?, path = ?, licences = ?", [HOSTILE] * 3)
        identifier = connection.execute("select id from files").fetchall()[0][0]
    path = statement(run, "grades")
    body = json.loads(path.read_text())
    body["subject"][0]["name"] = f"results/grades/{HOSTILE}"
    path.write_text(json.dumps(body))
    target = "results/midtrain/0123456789ab/model"
    with open_index(run) as connection:
        node = Tracer(run, connection).trace(target)
        texts = [as_text(node), as_mermaid(node), as_json(node), as_text(Tracer(run, connection).trace(identifier))]
    main(["verify", "--results", str(run / "results")])
    main(["verify", "--json", "--results", str(run / "results")])
    main(["trace", HOSTILE, "--results", str(run / "results")])
    said = capsys.readouterr()
    for text in (*texts, said.out, said.err):
        assert not set("\x1b\x07\u202e") & set(text)
        assert "note  nothing wrong" not in text.splitlines()
    assert "<U+001B>]0;mine<U+0007>" in texts[0]


def test_trees_show_every_node_once() -> None:
    shared = Node(name="c", text="corpus", notes=["note"], children=[Node(name="s", text="<source>")])
    root = Node(name="r", text="root", children=[Node(name="a", text="a", children=[shared]), shared])
    text = as_text(root)
    assert text.count("<source>") == 1
    assert text.endswith("corpus (see above)")
    assert as_text(root, 0) == "root\n└─ … 3 more, see --depth"
    assert "note" not in as_text(root, short=True)
    assert set(json.loads(as_json(root))["nodes"]) == {"r", "a", "c", "s"}
    lines = as_mermaid(root).split("\n")
    assert lines[0] == "flowchart LR"
    assert len([line for line in lines if "[" in line]) == 4
    assert len([line for line in lines if "-->" in line]) == 4
    assert '"#60;source#62;"' in as_mermaid(root)


def test_a_file_is_found_by_its_id_before_redaction_and_by_no_other(run: Path) -> None:
    build(run)
    with open_index(run) as connection:
        tracer = Tracer(run, connection)
        (identifier, original), *_ = connection.execute("select id, original from files order by id").fetchall()
        assert original != identifier
        found = tracer.trace(original)
        assert found.data == tracer.trace(identifier).data == {"file_id": identifier}
        assert tracer.trace(original[:16]).data == {"file_id": identifier}
        assert as_text(found) == as_text(tracer.trace(identifier))
        with pytest.raises(InputError, match="no id"):
            tracer.trace(original[::-1])
