"""Commands on what a run left behind: the lineage of its files and numbers, and whether they are intact."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated


def _working_folder(results: Path) -> Path:
    """Return the folder that the paths in statements are relative to; raise D3Error if it has no results."""
    from d3.errors import D3Error

    if not results.is_dir():
        raise D3Error("folder not found", where=str(results), remedy="run the workflow, or set --results")
    return results.absolute().parent


def lineage(
    *,
    results: Path = Path("results"),
    index: Annotated[Path | None, "output: index file; default: results/lineage/index.duckdb"] = None,
    json_: bool = False,
) -> None:
    """Bring the index of the lineage up to date with the statements of all jobs.

    Example: d3 lineage
    """
    import json
    import sys

    from d3.audit.index import build
    from d3.core.printable import printable

    built = build(_working_folder(results), index)
    if json_:
        counts = {name: getattr(built, name) for name in ("jobs", "new", "gone", "rows")}
        print(json.dumps({**counts, "left_out": list(map(str, built.faulty))}, indent=1))
        return
    for reason in built.faulty:
        print(f"left out: {printable(reason)}", file=sys.stderr)
    print(f"{built.jobs:,} jobs ({built.new:,} new, {built.gone:,} gone), {built.rows:,} rows")


def trace(
    target: Annotated[
        str,
        "a file, FILE#ROW, file id (also of before redaction), Stack hexsha, model folder, or a report's number",
    ],
    /,
    *,
    results: Path = Path("results"),
    json_: Annotated[bool, "print nodes and their children as JSON"] = False,
    mermaid: Annotated[bool, "print a Mermaid flowchart, which GitHub and Jupyter draw"] = False,
    depth: Annotated[int | None, "levels of the tree that are printed; default: all"] = None,
    limit: Annotated[int, "source files that are named"] = 5,
    short: Annotated[bool, "print one line for each step, without code and prompts"] = False,
) -> None:
    """Trace a file, a row, a model or a number of the report back to its sources.

    A missing or outdated index is built first.

    Example: d3 trace pass@1/humaneval/d3 --short --limit 2
    """
    from d3.audit.index import INDEX, build, newer_statements, open_index
    from d3.audit.trace import tree
    from d3.audit.trace.trace import Tracer
    from d3.core.terminal import print_text
    from d3.errors import D3Error

    if json_ and mermaid:
        raise D3Error("--json and --mermaid exclude each other", remedy="choose one")
    root = _working_folder(results)
    if not (root / INDEX).is_file():
        build(root)
    connection = open_index(root)
    if newer_statements(root, connection):
        connection.close()
        build(root)
        connection = open_index(root)
    node = Tracer(root, connection, limit=limit).trace(target)
    if json_:
        print(tree.as_json(node))
    elif mermaid:
        print(tree.as_mermaid(node))
    else:
        print_text(tree.as_text(node, depth, short=short))


def verify(
    target: Annotated[str | None, "check only this file and what it was made of; default: everything"] = None,
    /,
    *,
    results: Path = Path("results"),
    rows: Annotated[int, "rows of each table that are computed again"] = 100,
    allowed_signers: Annotated[Path | None, "file of the keys that may sign; see ssh-keygen(1)"] = None,
    json_: Annotated[bool, "print the findings as JSON lines"] = False,
    rebuild: Annotated[bool, "remove what is damaged, so that the next run builds it again"] = False,
) -> int:
    """Read everything again and list what was changed, cut off, lost or added.

    Exit 1: something was.

    Example: d3 verify --rows 1000
    """
    import json
    import sys
    from dataclasses import asdict

    from d3.audit.verify import verify as checks
    from d3.core.printable import printable
    from d3.core.terminal import print_text

    root = _working_folder(results)
    verified = checks.verify(root, target, sample=rows, allowed=allowed_signers)
    for finding in verified.findings:
        if json_:
            print(json.dumps(asdict(finding)))
        else:
            print_text(f"{'note' if finding.note else 'WRONG'}  {finding}")
    for signer in verified.signed:
        print(f"signed by {printable(signer)}", file=sys.stderr)
    size = f"{verified.statements:,} statements, {verified.files:,} files, {verified.bytes / 1e6:,.1f} MB"
    print(f"{size}: {len(verified.wrong) or 'nothing'} wrong", file=sys.stderr)
    if rebuild and verified.wrong:
        removed, left = checks.rebuild(root, verified.wrong)
        for line in (*(f"removed {path}" for path in removed), *left):
            print(printable(line), file=sys.stderr)
    return 1 if verified.wrong else 0


def diff(
    one: Annotated[str, "a run: its name, a folder of results, or RESULTS:NAME"],
    other: Annotated[str, "the other run"],
    /,
    *,
    results: Path = Path("results"),
    json_: Annotated[bool, "print the comparison as JSON"] = False,
) -> None:
    """Compare two runs: what differs, and which cause explains which result.

    Example: d3 diff baseline more-samples
    """
    from d3.audit.diff import as_text, compare, read_side
    from d3.core.terminal import print_text

    found = compare(read_side(one, results), read_side(other, results))
    if json_:
        print(found.as_json())
    else:
        print_text(as_text(found))


def compare(
    one: Annotated[Path, "per-sample JSONL of an arm"],
    other: Annotated[Path, "that of the other arm, on the same tasks"],
    /,
    *,
    task: Annotated[str, "field that names the task; default: task_id, doc_id, ..."] = "",
    outcome: Annotated[str, "field of the outcome; default: passed, verdict, the first metric of lm_eval, ..."] = "",
    json_: bool = False,
) -> None:
    """Compare two arms task by task from per-sample files, also those of `lm_eval --log_samples`.

    Example: d3 compare samples_before.jsonl samples_after.jsonl
    """
    import json

    from d3.core.terminal import print_text
    from d3.evals.compare import compare as paired
    from d3.evals.compare import read_outcomes, text_of

    found = paired(*(read_outcomes(path, outcome, task) for path in (one, other)))
    if json_:
        print(json.dumps(found._asdict(), indent=1))
    else:
        print_text(text_of(found, one.name, other.name))


def predictions(
    tasks: Path,
    samples: Path,
    out: Path,
    *,
    name: Annotated[str, "name of the model in the predictions"],
    sample: Annotated[int | None, "number of the sample, from 1; default: the first"] = None,
) -> None:
    """Write the solutions of SWE-bench's instances as patches for its official harness.

    Write one JSON line for each instance: instance_id, model_name_or_path, model_patch. Instances that cannot be
    asked are printed with the reason, and have no line.

    Example: d3 predictions --tasks swebench.parquet --samples samples.parquet --name d3 --out predictions.jsonl
    """
    import sys

    from d3.core.printable import printable
    from d3.core.tables import written_whole
    from d3.evals.predictions import predictions as lines
    from d3.evals.predictions import read_instances

    found = read_instances(tasks)
    with written_whole(out) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(lines(found.files, samples, name, (sample or 1) - 1))
    for instance, reason in found.skipped.items():
        print(printable(f"{instance} is skipped: {reason}"), file=sys.stderr)


def forget(
    names: Annotated[Sequence[str], "OWNER/NAME or its address, a user, or the id or hexsha of a file"],
    /,
    *,
    config: Annotated[Path, "configuration file of the run"],
    run: Annotated[bool, "run the workflow; default: print the command that does"] = False,
    target: Annotated[Sequence[str], "targets that are built again; default: the report"] = (),
    search: Annotated[Sequence[Path], "more folders to search, such as a release"] = (),
) -> int:
    """Put repositories, users or files on the opt-out list and prove that their text is gone.

    List the artifacts that contain rows of theirs, let the workflow build these again (with --run), remove
    what no run builds again, and search results/, work/ and logs/ for their lines. The exit code is 1 while
    anything is left, or if no row matches a name: run it again after the workflow.

    Example: d3 forget octocat/hello --config config/d3.yaml --run
    """
    import shlex
    import subprocess
    import sys

    from d3.audit.forget.forget import forget as remove
    from d3.config.load import load_config
    from d3.core.paths import REPOSITORY
    from d3.core.terminal import print_text
    from d3.errors import ToolError
    from d3.operate.run_lock import at_work
    from d3.operate.slurm import SlurmSilentError
    from d3.pipeline.pipeline import Chain

    line = [
        "run",
        "--workflow-profile",
        str(REPOSITORY / "profiles" / "default"),
        "--configfile",
        str(config),
        "--",
        *target,
    ]

    def build_again() -> None:
        if subprocess.run([sys.executable, "-m", "d3", *line], stdout=sys.stderr, check=False).returncode:
            raise ToolError("the workflow failed", remedy="fix what it reports above, and run `d3 forget` again")

    def is_alone() -> bool:
        try:
            return not at_work(Path.cwd())
        except SlurmSilentError:
            return False

    rebuild = build_again if run else None
    report = remove(Chain(load_config(config)), names, rebuild=rebuild, more=search, is_alone=is_alone)
    print_text(report.text())
    if report.left and not run:
        print(f"run the workflow, then this command again: d3 {shlex.join(line)}")
    return 1 if report.left or report.unmatched else 0


def export(
    run: Annotated[str, "a run: its name, or RESULTS:NAME; default: the only one"] = "",
    /,
    *,
    results: Path = Path("results"),
    crate: Annotated[Path | None, "output: new folder for a Workflow Run RO-Crate"] = None,
    croissant: Annotated[Path | None, "output: description of the dataset in Croissant"] = None,
    openlineage: Annotated[Path | None, "output: events of all jobs as JSON lines"] = None,
    code_url: Annotated[str, "address of the pipeline's code, for the crate"] = "",
    author: Annotated[str | None, "author of the crate"] = None,
    affiliation: Annotated[str, "affiliation of the author"] = "",
    affiliation_url: Annotated[str, "page of the affiliation"] = "",
) -> None:
    """Describe a run in standard formats: RO-Crate, Croissant, OpenLineage.

    Example: d3 export demo --crate crate --croissant croissant.json
    """
    from d3.audit.diff import read_side
    from d3.audit.export.croissant import write_croissant
    from d3.audit.export.openlineage import write_openlineage
    from d3.audit.export.ro_crate import Author, write_crate
    from d3.audit.index import build, licences_of, open_index
    from d3.errors import D3Error

    if not (crate or croissant or openlineage):
        raise D3Error("no output is named", remedy="set --crate PATH, --croissant PATH or --openlineage PATH")
    side = read_side(run or str(results), results)
    build(side.root)
    with open_index(side.root) as connection:
        licences = licences_of(connection, [item.path for item in side.run.statements.values()])
    if crate:
        person = Author(name=author, affiliation=affiliation, url=affiliation_url) if author else None
        print(write_crate(side, crate, licences, person, code_url))
    if croissant:
        write_croissant(side, licences, croissant)
        print(croissant)
    if openlineage:
        print(f"{openlineage}: {write_openlineage(side, openlineage)} events")


def release(
    run: Annotated[str, "a run: its name, or RESULTS:NAME; default: the only one"] = "",
    /,
    *,
    out: Annotated[Path, "folder of the release: made anew, or with --push one that was made before"],
    results: Path = Path("results"),
    push: Annotated[str | None, "data set OWNER/NAME of the Hugging Face Hub to upload it to"] = None,
    public: Annotated[bool, "make a new data set of the hub public; default: private"] = False,
) -> None:
    """Make a folder with a run's dataset that is ready to publish, and push it on request.

    It has the rows as data/train-* and, of held-out files, data/validation-*; a card, a description in Croissant,
    the statements of all jobs, and checksums. With --push, a folder that is there is uploaded as it is.

    Example: d3 release demo --out release --push OWNER/NAME
    """
    from d3.audit.diff import read_side
    from d3.audit.export import push as hub
    from d3.audit.export.release import write_release

    if not (push and out.exists()):
        counts = write_release(read_side(run or str(results), results), out)
        for split, rows in counts.rows.items():
            print(f"{out}: {split} {rows:,} rows of {counts.files[split]:,} source files")
    if push:
        print(hub.push(out, push, public=public))


def sign(
    *,
    key: Annotated[Path, "SSH key that signs"],
    name: Annotated[str, "name of the signature's file"] = "signer",
    results: Path = Path("results"),
) -> None:
    """Sign the statements of all jobs with an SSH key.

    `verify` then also checks who vouches for them.

    Example: d3 sign --key ~/.ssh/id_ed25519
    """
    from d3.audit.verify.signatures import sign as sign_statements

    print(sign_statements(_working_folder(results), key, name))


def journal(
    folder: Annotated[Path, "a folder of work/journal"],
    /,
    *,
    compact: Annotated[bool, "merge it into few segments, without damaged parts"] = False,
    json_: bool = False,
) -> int:
    """Check a journal of finished work, or compact it.

    Exit 1: a part of it is damaged.

    Example: d3 journal work/journal/grades --compact
    """
    import json

    from d3.core.journal import Journal, verify
    from d3.errors import InputError
    from d3.operate.run_lock import at_work

    if not folder.is_dir():
        raise InputError("journal not found", where=str(folder), remedy="name a folder of work/journal")
    if compact:
        Journal(folder).compact(alone=not at_work(Path.cwd()))
    health = verify(folder)
    if json_:
        damaged = list(map(str, health.damaged))
        print(json.dumps({"entries": health.entries, "segments": health.segments, "damaged": damaged}, indent=1))
        return 1 if damaged else 0
    for path in health.damaged:
        print(f"damaged, its entries are computed again: {path}")
    print(f"{folder}: {health.entries:,} entries in {health.segments:,} sound segments")
    return 1 if health.damaged else 0
