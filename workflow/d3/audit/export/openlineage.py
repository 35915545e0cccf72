"""All jobs of a run as OpenLineage events, two a job, one a line."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d3.audit.diff import Side
from d3.audit.statements import Artefact, Statement
from d3.core.tables import written_whole
from d3.provenance.statement import SUFFIX

PRODUCER = "urn:d3:pipeline"
EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = "https://openlineage.io/spec/facets"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)


def events(side: Side) -> Iterator[dict[str, Any]]:
    """Yield START and COMPLETE of every job, in the order in which they started."""
    space = f"d3/{side.numbers['run']}"
    ordered = sorted(side.run.statements.values(), key=lambda item: (item.started_on, item.path))
    for statement in ordered:
        run = {"runId": str(uuid.uuid5(NAMESPACE, statement.digest)), "facets": _run_facets(statement)}
        job = {"namespace": space, "name": statement.path.removesuffix(SUFFIX)}
        base = {"producer": PRODUCER, "schemaURL": EVENT, "run": run, "job": job}
        inputs = [_dataset(space, item, "inputFacets", "inputStatistics") for item in statement.inputs]
        outputs = [_dataset(space, item, "outputFacets", "outputStatistics") for item in statement.outputs]
        yield base | {"eventType": "START", "eventTime": statement.started_on, "inputs": inputs}
        yield base | {
            "eventType": "COMPLETE",
            "eventTime": statement.finished_on,
            "inputs": inputs,
            "outputs": outputs,
        }


def _run_facets(statement: Statement) -> dict[str, Any]:
    """Return what decided the job, as a facet of our own."""
    return {
        "processing_engine": _facet("1-1-1/ProcessingEngineRunFacet", name="d3", version=statement.code[:12]),
        "d3_statement": {
            "_producer": PRODUCER,
            "_schemaURL": "https://slsa.dev/provenance/v1",
            "stage": statement.stage,
            "config": statement.config,
            "prompts": statement.prompts,
            "code": statement.code,
            "environment": statement.environment,
            "rows": statement.counts,
            "statement": {"name": statement.path, "sha256": statement.digest},
        },
    }


def _dataset(space: str, item: Artefact, place: str, name: str) -> dict[str, Any]:
    """Return an input or output with its rows and bytes, and its digest as the version."""
    statistics = {key: value for key, value in (("rowCount", item.rows), ("size", item.bytes)) if value is not None}
    kind = "InputStatisticsInputDatasetFacet" if place == "inputFacets" else "OutputStatisticsOutputDatasetFacet"
    facets = {name: _facet(f"1-0-0/{kind}" if place == "inputFacets" else f"1-0-2/{kind}", **statistics)}
    version = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=f"sha256:{item.sha256}")
    return {"namespace": space, "name": item.path, "facets": {"version": version}, place: facets if statistics else {}}


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{FACETS}/{schema}.json", **values}


def write_openlineage(side: Side, path: Path) -> int:
    """Write the events of a run; gives their number."""
    number = 0
    with written_whole(path) as part, part.open("w", encoding="utf-8") as file:
        for event in events(side):
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            number += 1
    return number
