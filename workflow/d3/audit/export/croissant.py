"""The dataset in Croissant 1.1: its files with SHA-256, its columns, and what it was made of (PROV-O)."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from d3.audit.diff import Side
from d3.audit.statements import Statement
from d3.core import schemas
from d3.core.ids import file_digest
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


class ReleasedFile(NamedTuple):
    """A file of a release; paths are relative to its folder, and to that of the run."""

    path: str
    split: str
    rows: int
    derived_from: str
    derived_sha256: str


class _File(NamedTuple):
    """A file of rows."""

    path: str
    sha256: str
    bytes: int | None
    rows: int | None
    derived_from: tuple[tuple[str, str], ...]
    """(path, SHA-256) of what it was made of."""


def describe(
    side: Side, licences: Mapping[str, int], folder: Path, files: Sequence[ReleasedFile] | None = None
) -> dict[str, Any]:
    """Return the description of a run's dataset, or of the files of its release; paths are relative to `folder`."""
    statements = side.stages.get("dataset") or []
    described = list(_files_of_run(side, folder) if files is None else _released(files, folder))
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
                "contentUrl": item.path,
                "contentSize": f"{item.bytes} B" if item.bytes is not None else None,
                "encodingFormat": "application/x-parquet",
                "sha256": item.sha256,
                "prov:wasDerivedFrom": [_entity(path, sha256) for path, sha256 in item.derived_from],
            }
            for number, item in enumerate(described)
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": f"rows-{number:05d}",
                "name": f"rows-{number:05d}",
                "description": f"{item.rows} rows of {Path(item.path).name}",
                "field": [_field(f"rows-{number:05d}", f"file-{number:05d}", column) for column in schemas.DATASET],
            }
            for number, item in enumerate(described)
        ],
    }


def _files_of_run(side: Side, folder: Path) -> Iterator[_File]:
    """Yield the files of the dataset as the run left them."""
    base = os.path.relpath(side.root, folder)
    for statement in side.stages.get("dataset") or []:
        item = statement.outputs[0]
        place = Path(os.path.normpath(Path(base) / item.path)).as_posix()
        derived = tuple((read.path, read.sha256) for read in statement.inputs)
        yield _File(place, item.sha256, item.bytes, item.rows, derived)


def _released(files: Sequence[ReleasedFile], folder: Path) -> Iterator[_File]:
    """Yield the files of a release."""
    for item in files:
        path = folder / item.path
        derived = ((item.derived_from, item.derived_sha256),)
        yield _File(item.path, file_digest(path), path.stat().st_size, item.rows, derived)


def _made_rows(stage: str) -> bool:
    """Return whether rows of the dataset went through a stage."""
    return stage in {"dataset", *before("dataset")} and bool(STAGES[stage].outputs[0].schema)


def _sources(side: Side) -> list[Any]:
    """Return what the corpus was made of."""
    read = {item.path: item for statement in side.stages.get("corpus") or [] for item in statement.inputs}
    return [read[path] for path in sorted(read)]


def _entity(path: str, sha256: str) -> dict[str, Any]:
    return {"@type": "prov:Entity", "@id": f"urn:sha256:{sha256}", "prov:label": path}


def _activity(side: Side, stage: str) -> dict[str, Any]:
    """Return one stage as an activity: its settings, prompts, models and code."""
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
    """Return one column; The Stack's metadata is one field of text."""
    kind = "sc:Integer" if pa.types.is_integer(column.type) else "sc:Text"
    return {
        "@type": "cr:Field",
        "@id": f"{rows}/{column.name}",
        "name": column.name,
        "description": MEANING[column.name],
        "dataType": kind,
        "source": {"fileObject": {"@id": source}, "extract": {"column": column.name}},
    }


def write_croissant(
    side: Side, licences: Mapping[str, int], path: Path, files: Sequence[ReleasedFile] | None = None
) -> None:
    """Write the Croissant file of a run's dataset, or of the files of its release beside it."""
    text = json.dumps(describe(side, licences, path.absolute().parent, files), indent=1, ensure_ascii=False) + "\n"
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
