"""The dataset in Croissant 1.1: its files with SHA-256, its columns, and what it was made of (PROV-O)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from d3.audit.diff import Side
from d3.audit.statements import Statement
from d3.core import schemas
from d3.core.tables import written_whole
from d3.pipeline.registry import STAGES, before

CROISSANT_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "excludes": "cr:excludes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification gives, with PROV-O."""
MEANING = {
    "prompt": "the start file with line numbers, and the instruction",
    "completion": "the prompt again, then the diffs",
    "program_start": "the program before the diffs",
    "lines_changed": "lines that the diffs add and delete",
    "source_program_id": "first 63 bits of the SHA-256 of the source file's normalised text",
    "metadata": "the source file's row of The Stack without its content: hexsha, repository, path, licences",
    "source": "the data set that the file comes from",
}


def describe(side: Side, licences: Mapping[str, int], folder: Path) -> dict[str, Any]:
    """Give the description of a run's dataset; paths are relative to `folder`."""
    statements = side.stages.get("dataset") or []
    files = [statement.outputs[0] for statement in statements]
    base = os.path.relpath(side.root, folder)
    places = [Path(os.path.normpath(Path(base) / item.path)).as_posix() for item in files]
    return {
        "@context": CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"d3-{side.numbers['run']}",
        "description": "Source files refactored into sequences of error-free diffs, with instructions that a "
        "language model wrote; made by the D3 pipeline.",
        "url": "urn:d3:dataset",
        "citeAs": "Piterbarg et al.: Diverse Data for Diff-by-Diff Coding (D3), COLM 2025",
        "version": "1.0.0",
        "datePublished": max((item.finished_on for item in statements), default=""),
        "license": sorted(licences) or ["unknown"],
        "isLiveDataset": False,
        "prov:wasDerivedFrom": [_entity(item.path, item.sha256) for item in _sources(side)],
        "prov:wasGeneratedBy": [_activity(side, stage) for stage in side.stages if _made_rows(stage)],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": f"file-{number:05d}",
                "name": Path(item.path).name,
                "contentUrl": place,
                "contentSize": f"{item.bytes} B" if item.bytes is not None else None,
                "encodingFormat": "application/x-parquet",
                "sha256": item.sha256,
                "prov:wasDerivedFrom": [_entity(read.path, read.sha256) for read in statement.inputs],
            }
            for number, (item, place, statement) in enumerate(zip(files, places, statements, strict=True))
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": f"rows-{number:05d}",
                "name": f"rows-{number:05d}",
                "description": f"{item.rows} rows of {Path(item.path).name}",
                "field": [_field(f"rows-{number:05d}", f"file-{number:05d}", column) for column in schemas.DATASET],
            }
            for number, item in enumerate(files)
        ],
    }


def _made_rows(stage: str) -> bool:
    """Return whether rows of the dataset went through a stage."""
    return stage in {"dataset", *before("dataset")} and bool(STAGES[stage].outputs[0].schema)


def _sources(side: Side) -> list[Any]:
    """Give what the corpus was made of."""
    read = {item.path: item for statement in side.stages.get("corpus") or [] for item in statement.inputs}
    return [read[path] for path in sorted(read)]


def _entity(path: str, sha256: str) -> dict[str, Any]:
    return {"@type": "prov:Entity", "@id": f"urn:sha256:{sha256}", "prov:label": path}


def _activity(side: Side, stage: str) -> dict[str, Any]:
    """Give one stage as an activity: its settings, prompts, models and code."""
    statements: list[Statement] = side.stages[stage]
    first = statements[0]
    git = first.facts.get("git") or {}
    return {
        "@type": "prov:Activity",
        "@id": f"urn:d3:{stage}:{first.outputs[0].path.split('/')[2]}",
        "prov:label": stage,
        "prov:startedAtTime": min(item.started_on for item in statements),
        "prov:endedAtTime": max(item.finished_on for item in statements),
        "prov:used": [_entity(item.path, item.sha256) for item in first.inputs if item.role == "model"],
        "description": json.dumps(
            {"config": first.config, "prompts": first.prompts, "code": first.code, "git": git},
            sort_keys=True,
        ),
    }


def _field(rows: str, source: str, column: pa.Field) -> dict[str, Any]:
    """Give one column; The Stack's metadata is one field of text."""
    kind = "sc:Integer" if pa.types.is_integer(column.type) else "sc:Text"
    return {
        "@type": "cr:Field",
        "@id": f"{rows}/{column.name}",
        "name": column.name,
        "description": MEANING[column.name],
        "dataType": kind,
        "source": {"fileObject": {"@id": source}, "extract": {"column": column.name}},
    }


def write_croissant(side: Side, licences: Mapping[str, int], path: Path) -> None:
    """Write the Croissant file of a run's dataset."""
    text = json.dumps(describe(side, licences, path.absolute().parent), indent=1, ensure_ascii=False) + "\n"
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
