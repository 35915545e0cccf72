"""Runs that never ran: statements, logs and attempts of jobs, alone or of a whole run.

`finish`, `record_attempts` and `write_log` leave what one job would leave. `finish_everything` completes a run
whose jobs the workflow itself names, with empty outputs, so that the rule of what runs again has to look at all
of them. `make_run` writes tables with the real columns from the source to the tokens and one trained model.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3.config.load import load_config
from d3.core import schemas
from d3.core.ids import canonical_json
from d3.pipeline.job_list import Work, jobs
from d3.pipeline.pipeline import Chain, code_of
from d3.pipeline.registry import LISTS_OF_MATCHES
from d3.provenance.attempts import attempts_path, moment
from d3.provenance.code_digest import digest_of_modules
from d3.provenance.digest_cache import stamp
from d3.provenance.environments import venv
from d3.provenance.statement import BUILD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE, settings_digest, statement_path
from d3.stages.run_record import run_record, settings_of
from helpers.corpus_tables import columns_of

# --- one job --------------------------------------------------------------------------------------

Item = dict[str, Any]
"""An output or an input in a statement."""
LONG_AGO = 1_767_225_600.0
"""When fake jobs ran, unless a test says otherwise: 2026-01-01."""


def item(name: str, *, sha256: str | None = None, **annotations: Any) -> Item:
    """Return an output or input as statements name it; the digest is made up unless it is given."""
    digest = sha256 or hashlib.sha256(name.encode()).hexdigest()
    return {"name": name, "digest": {"sha256": digest}, "annotations": annotations}


def write_statement(
    root: Path,
    stage: str,
    outputs: Sequence[Item],
    inputs: Sequence[Item] = (),
    *,
    config: Any = None,
    prompts: Mapping[str, str] | None = None,
    read: int = 0,
    kept: int = 0,
    started: float = LONG_AGO,
    ended: float = LONG_AGO,
    **internal: Any,
) -> None:
    """Write the statement of a job beside its first output; `internal` are its internal parameters, null for none."""
    config = {} if config is None else config
    parameters = {"code": "c" * 32, "seed": 0, "shared": {"config": config}, **internal}
    body = {
        "_type": STATEMENT_TYPE,
        "subject": list(outputs),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"stage": stage, "config": settings_digest(config), "prompts": prompts or {}},
                "internalParameters": {name: value for name, value in parameters.items() if value is not None},
                "resolvedDependencies": list(inputs),
            },
            "runDetails": {
                "metadata": {"startedOn": moment(started), "finishedOn": moment(ended)},
                "byproducts": [{"name": "rows", "content": {"read": read, "kept": kept, "dropped": {}}}],
            },
        },
    }
    path = statement_path(root / outputs[0]["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(canonical_json(body) + "\n", encoding="utf-8")


def jobs_by_name(chain: Chain) -> dict[tuple[str, str], Work]:
    """Return all jobs of a run by (stage, name)."""
    return {(job.stage, job.name): job for job in jobs(chain)}


def finish(job: Work, *, read: int = 10, rows: int = 8, seconds: float = 4.0, ended: float | None = None) -> None:
    """Write the statement of a job that kept `rows` of `read` rows and ended now or at `ended`."""
    ended = time.time() if ended is None else ended
    output = item(str(job.output), rows=rows, bytes=1000)
    write_statement(Path(), job.stage, [output], read=read, kept=rows, started=ended - seconds, ended=ended)


def record_attempts(job: Work, *errors: str | None) -> None:
    """Record an attempt for each error; None stands for a killed job, the empty text for one that succeeded."""
    path = attempts_path(job.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = moment(time.time())
    with path.open("a") as file:
        for error in errors:
            file.write(json.dumps({"event": "start", "time": now, "host": "far", "pid": 1, "slurm": None}) + "\n")
            if error is not None:
                end = {"event": "end", "time": now, "status": "failed" if error else "ok"}
                file.write(json.dumps(end | ({"error": error} if error else {})) + "\n")


def write_log(job: Work, *lines: str) -> None:
    """Write a job's log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.log.write_text("".join(f"{line}\n" for line in lines))


# --- every job of a workflow ----------------------------------------------------------------------

NOTHING = hashlib.sha256(b"").hexdigest()
MODELS = {"midtrain", "sft", "model", "hub_model"}


def finish_everything(folder: Path, config: Path, states: Iterable[Mapping[str, Any]]) -> int:
    """Write empty outputs and statements that fit them for all jobs of a dry-run; return their number.

    `states` is what the dry-run wrote to `D3_REASONS`.
    """
    chain = Chain(load_config(config))
    own = {name: [f"arms.{found[0]}"] for name, found in chain.arms.items()}
    own |= {name: [f"benchmarks.{found[0]}"] for name, found in chain.benchmarks.items()}
    states = list(states)
    for state in states:  # all outputs first: a statement holds sizes and times of its inputs
        for name in state["outputs"]:
            path = folder / name
            if state["stage"] in MODELS:
                path.mkdir(parents=True)
                (path / "config.json").touch()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    for state in states:
        stage, output = str(state["stage"]), Path(state["outputs"][0])
        part = {"sft": output.name, "gate": output.stem} | dict.fromkeys(
            ("generate", "execute", "scores"), output.parent.name
        )
        read = {"report": list(chain.values)} | {name: ["benchmarks"] for name in LISTS_OF_MATCHES}
        settings = own[part[stage]] if stage in part else read.get(stage, [])
        _finish_as_of_today(folder, chain, state, settings)
    return len(states)


def _finish_as_of_today(folder: Path, chain: Chain, state: Mapping[str, Any], settings: Sequence[str]) -> None:
    """Write a statement that agrees with today's settings, code, environment and inputs.

    `settings` are those that the job of an arm or a benchmark reads besides those of its stage.
    """
    stage = str(state["stage"])
    environment = venv(chain.environment(stage))
    write_statement(
        folder,
        stage,
        [_empty(folder, name) for name in state["outputs"]],
        [_empty(folder, name) for name in state["inputs"]],
        config=settings_of(run_record(chain)) if stage == "run_record" else chain.deciding(stage, *settings),
        prompts=chain.prompts(stage),
        shared=None,  # as in a workflow, where facts are files of their own
        facts="f" * 32,
        code=digest_of_modules(code_of(stage, chain.settings(stage, *settings))),
        environment={"kind": "venv", "name": environment.name, "identity": environment.identity},
    )


def _empty(folder: Path, name: str) -> Item:
    found = stamp(folder / name)
    return item(name, sha256=NOTHING, bytes=found.bytes, state=found.state)


# --- a run with tables ----------------------------------------------------------------------------

LABELS = 5
"""Dataset rows of one source file: the whole program and four sub-trajectories."""
KEY = "0123456789ab"
FOLDERS = {
    "source": f"source/{KEY}",
    "corpus": f"corpus/{KEY}",
    "grades": f"grades/{KEY}",
    "diffs": f"diffs/{KEY}",
    "labels": f"labels/{KEY}",
    "dataset": f"dataset/{KEY}/data",
    "row_ids": f"dataset/{KEY}/rows",
}
READS = {
    "source": [],
    "corpus": ["source"],
    "grades": ["corpus"],
    "diffs": ["corpus", "grades"],
    "labels": ["corpus", "diffs"],
    "dataset": ["corpus", "diffs", "labels"],
}


def make_run(root: Path, rows: int, shards: int) -> dict[str, str]:
    """Write a run of about `rows` dataset rows; return a row, a file and a model of it to trace."""
    tokens: list[str] = []
    targets = {}
    for number in range(shards):
        name = f"shard-{number:05d}"
        tables = _tables(name, max(1, rows // shards // LABELS))
        paths = {stage: f"results/{folder}/{name}.parquet" for stage, folder in FOLDERS.items()}
        for stage, table in tables.items():
            (root / paths[stage]).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, root / paths[stage], compression="zstd", row_group_size=1000)
        for stage, before in READS.items():
            outputs = [stage, "row_ids"] if stage == "dataset" else [stage]
            _finish_without_settings(root, stage, [paths[part] for part in outputs], [paths[part] for part in before])
        tokens.append(f"results/tokens/{KEY}/{name}.npy")
        _write_bytes(root / tokens[-1])
        _finish_without_settings(root, "tokens", tokens[-1:], [paths["dataset"]])
        targets["row"] = f"{paths['dataset']}#{len(tables['dataset']) // 2}"
        targets["file"] = tables["corpus"]["id"][0].as_py()
    model = f"results/midtrain/{KEY}/model"
    _write_bytes(root / model / "model.safetensors")
    _finish_without_settings(root, "midtrain", [model], tokens)
    return targets | {"model": model}


def _finish_without_settings(root: Path, stage: str, outputs: Sequence[str], inputs: Sequence[str]) -> None:
    written, read = ([item(name, bytes=1000, rows=1000) for name in names] for names in (outputs, inputs))
    write_statement(root, stage, written, read, config={"seed": 0})


def _write_bytes(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())


def _tables(name: str, files: int) -> dict[str, pa.Table]:
    """Return the tables of a shard by stage."""
    ids = [hashlib.sha256(f"{name}/{row}".encode()).hexdigest() for row in range(files)]
    metadata = [
        {
            **dict.fromkeys(schemas.METADATA.names),
            "hexsha": identifier[:40],
            "max_stars_repo_name": f"user-{row % 997}/repository-{row % 7919}",
            "max_stars_repo_path": f"package/module_{row}.py",
            "max_stars_repo_licenses": [("MIT", "Apache-2.0", "BSD-3-Clause")[row % 3]],
        }
        for row, identifier in enumerate(ids)
    ]
    stack = [dict.fromkeys(schemas.STACK.names) | row | {"content": "pass"} for row in metadata]
    of_file: dict[str, list[Any]] = {"id": ids, "status": ["ok"] * files}
    count = files * LABELS
    of_label: dict[str, list[Any]] = {
        "id": [identifier for identifier in ids for _ in range(LABELS)],
        "sample": [0] * count,
        "part": list(range(LABELS)) * files,
        "start": [0] * count,
        "end": [1] * count,
    }
    numbers = [int(identifier[:16], 16) >> 1 for identifier in of_label["id"]]
    return {
        "source": pa.Table.from_pylist(stack, schema=schemas.STACK),
        "corpus": columns_of(
            schemas.CORPUS,
            id=ids,
            original=[hashlib.sha256(identifier.encode()).hexdigest() for identifier in ids],
            text=["pass"] * files,
            split=["midtrain"] * files,
            shard=[name] * files,
            row=list(range(files)),
            metadata=metadata,
        ),
        "grades": columns_of(schemas.GRADES, **of_file, score=[3] * files),
        "diffs": columns_of(schemas.DIFFS, **of_file, sample=[0] * files, diffs=[["@@ -0,0 +1 @@\n+pass"]] * files),
        "labels": columns_of(schemas.LABELS, **of_label, label=["Write a program."] * count, status=["ok"] * count),
        "dataset": columns_of(schemas.DATASET, prompt=["p"] * count, source_program_id=numbers),
        "row_ids": columns_of(schemas.ROW_IDS, **of_label, row=list(range(count))),
    }
