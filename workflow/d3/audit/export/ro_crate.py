"""The run as a Workflow Run RO-Crate 0.5, Provenance Run profile: for archives and other people's tools.

One action a stage, however many shards there are. What is small (report, numbers, statements, facts,
Snakefile) is copied into the crate; data and models are named with their SHA-256 and size. A stage
with more than `SINGLY` files is a Collection whose members `statements.jsonl` lists.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from d3.audit.diff import Side
from d3.audit.statements import Artefact, Statement
from d3.core.paths import REPOSITORY
from d3.core.tables import remove, written_whole
from d3.pipeline.registry import position
from d3.provenance.statement import FACTS

Entity = dict[str, Any]

CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
SINGLY = 20
"""Most files of a stage that are named one by one."""
SNAKEFILE = "workflow/Snakefile"
SNAKEMAKE = "https://snakemake.github.io"
FORMATS = {
    ".parquet": ("application/vnd.apache.parquet", "https://parquet.apache.org"),
    ".json": ("application/json", "https://www.nationalarchives.gov.uk/PRONOM/fmt/817"),
    ".jsonl": ("application/jsonl", "https://jsonlines.org"),
    ".tsv": ("text/tab-separated-values", "https://www.nationalarchives.gov.uk/PRONOM/x-fmt/13"),
    ".html": ("text/html", "https://www.nationalarchives.gov.uk/PRONOM/fmt/471"),
    ".gz": ("application/gzip", "https://www.nationalarchives.gov.uk/PRONOM/x-fmt/266"),
    ".npy": ("application/octet-stream", "https://www.nationalarchives.gov.uk/PRONOM/fmt/208"),
    "": ("text/plain", "https://www.nationalarchives.gov.uk/PRONOM/x-fmt/111"),
}
"""Media type and description of what files are, by suffix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Author:
    """Who stands for the crate."""

    name: str
    affiliation: str = ""
    url: str = ""
    """Of the affiliation."""


class Crate:
    """Collects the entities of one run."""

    def __init__(self, side: Side, licences: Mapping[str, int], author: Author | None, code: str) -> None:
        self.side, self.licences, self.author, self.code = side, licences, author, code
        self.entities: dict[str, Entity] = {}
        self.mentions: list[str] = []
        self.parts: list[str] = []

    # --- entities -----------------------------------------------------------------------------------

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> dict[str, str]:
        """Add an entity, if it is not there; give a reference to it. None and empty values are left out."""
        kept = {name: _single(value) for name, value in properties.items() if value not in (None, "", [])}
        self.entities.setdefault(identifier, {"@id": identifier, "@type": kind, **kept})
        return {"@id": identifier}

    def format(self, name: str) -> list[Any]:
        """Return the media type of a file, and the entity of its format."""
        media, page = FORMATS.get(Path(name).suffix, FORMATS[""])
        self.add(page, "WebSite", name=media)
        return [media, {"@id": page}]

    def file(self, item: Artefact) -> dict[str, str]:
        """Add a file or folder that is not in the crate."""
        identifier = f"#{quote(item.path)}"
        if identifier not in self.entities:
            folder = not Path(item.path).suffix or (self.side.root / item.path).is_dir()
            self.parts.append(identifier + ("/" if folder else ""))
            self.add(
                identifier + ("/" if folder else ""),
                "Dataset" if folder else "File",
                name=item.path,
                description=f"{item.rows:,} rows" if item.rows is not None else None,
                sha256=item.sha256,
                contentSize=str(item.bytes) if item.bytes is not None and not folder else None,
                encodingFormat=None if folder else self.format(item.path),
            )
            return {"@id": identifier + ("/" if folder else "")}
        return {"@id": identifier}

    def own_file(self, name: str, title: str, **more: Any) -> dict[str, str]:
        """Add a file that lies in the crate."""
        self.parts.append(name)
        return self.add(name, "File", name=title, encodingFormat=self.format(name), **more)

    def files(self, name: str, items: Sequence[Artefact]) -> list[dict[str, str]]:
        """Add files one by one, or as a collection when there are many."""
        if len(items) <= SINGLY:
            return [self.file(item) for item in items]
        identifier = f"#collection-{name}"
        self.mentions.append(identifier)
        self.add(
            identifier,
            "Collection",
            name=f"{len(items):,} files of {name}",
            description="Names, digests and rows of all of them are in statements.jsonl.",
            mainEntity={"@id": "statements.jsonl"},
            hasPart=[{"@id": "statements.jsonl"}],
        )
        return [{"@id": identifier}]

    def tool(self, stage: str) -> str:
        """Return the identifier of a stage's tool."""
        return f"{self.code}#{stage}" if self.code else f"urn:d3:stage:{stage}"

    # --- the run ------------------------------------------------------------------------------------

    def build(self) -> Entity:
        """Return the whole metadata file."""
        stages = sorted(self.side.stages, key=position)
        self._copied_files()
        actions = [self._stage(place, stage) for place, stage in enumerate(stages, start=1)]
        whole = self._whole_run(stages)
        self._engine(stages, whole)
        self.mentions += [whole, *actions]
        self._root(stages)
        return {"@context": CONTEXT, "@graph": list(self.entities.values())}

    def _agent(self) -> dict[str, str] | None:
        if self.author is None:
            return None
        place = None
        if self.author.affiliation:
            home = self.author.url or None
            place = self.add(home or "#affiliation", "Organization", name=self.author.affiliation, url=home)
        return self.add("#author", "Person", name=self.author.name, affiliation=place)

    def _copied_files(self) -> None:
        run = self.side.numbers["run"]
        self.parts.append("README.md")
        self.add("README.md", "File", name="README", about={"@id": "./"}, encodingFormat="text/markdown")
        self.own_file("statements.jsonl", "The statement of every job, one a line")
        self.own_file("numbers.json", f"Every number of the report of the run {run}")
        self.own_file("report.html", f"The report of the run {run}")
        self.own_file("attrition.tsv", "Rows of every stage, and why they went")
        for path in sorted((self.side.root / FACTS).glob("*.json")):
            self.own_file(f"facts/{path.name}", "Modules, packages and git commit that several jobs share")

    def _stage(self, place: int, stage: str) -> str:
        """Add a stage: its tool, its step and its action; give the action's id."""
        statements = self.side.stages[stage]
        facts = statements[0].facts
        tool = self.add(
            self.tool(stage),
            "SoftwareApplication",
            name=f"d3 {stage}",
            url=self.code or SNAKEFILE,
            softwareVersion=statements[0].code,
            softwareRequirements=f"Python {(facts.get('interpreter') or {}).get('python', '')}".strip(),
        )
        step = self.add(f"#step-{stage}", "HowToStep", name=stage, position=str(place), workExample=tool)
        inputs = _unique(item for statement in statements for item in statement.inputs)
        outputs = _unique(item for statement in statements for item in statement.outputs)
        counts = _added(statements)
        action = f"#action-{stage}"
        self.add(
            action,
            "CreateAction",
            name=f"{stage}, {len(statements):,} job{'' if len(statements) == 1 else 's'}",
            description=f"rows read {counts['read']:,}, kept {counts['kept']:,}",
            instrument=tool,
            agent=self._agent(),
            object=[*self.files(f"{stage}-inputs", inputs), *self._settings(stage, statements[0])],
            result=self.files(f"{stage}-outputs", outputs),
            startTime=min(_time(statement.started_on) for statement in statements),
            endTime=max(_time(statement.finished_on) for statement in statements),
            actionStatus="http://schema.org/CompletedActionStatus",
            containerImage=self._image(statements[0]),
        )
        self.add(
            f"#control-{stage}", "ControlAction", name=f"orchestrate {stage}", instrument=step, object={"@id": action}
        )
        return action

    def _settings(self, stage: str, statement: Statement) -> list[dict[str, str]]:
        values: dict[str, Any] = {
            "config": json.dumps(statement.config, sort_keys=True),
            **{f"prompt {name}": f"sha256 {digest}" for name, digest in statement.prompts.items()},
            "code": statement.code or None,
            "seed": statement.seed,
        }
        return [
            self.add(f"#{stage}-{quote(name)}", "PropertyValue", name=name, value=value)
            for name, value in values.items()
            if value is not None
        ]

    def _image(self, statement: Statement) -> dict[str, str] | None:
        environment = statement.environment
        if environment.get("kind") != "image":
            return None
        return self.add(
            f"#image-{environment.get('name')}",
            "ContainerImage",
            additionalType={"@id": "https://w3id.org/ro/terms/workflow-run#SIFImage"},
            name=str(environment.get("path") or environment.get("name")),
            registry="local file",
            sha256=environment.get("sha256"),
            identifier=environment.get("identity"),
        )

    def _whole_run(self, stages: Sequence[str]) -> str:
        """Add the workflow and the action that is its run."""
        tools = [{"@id": self.tool(stage)} for stage in stages]
        statements = [statement for several in self.side.stages.values() for statement in several]
        git: dict[str, Any] = next((facts["git"] for facts in (item.facts for item in statements)
                    if facts.get("git")), {})  # fmt: skip
        language = self.add(
            "#snakemake-language", "ComputerLanguage", name="Snakemake", alternateName="Snakemake",
            identifier={"@id": SNAKEMAKE}, url={"@id": SNAKEMAKE},
        )  # fmt: skip
        self.add(SNAKEMAKE, "WebSite", name="Snakemake")
        sources = self.add("#input-sources", "FormalParameter", name="sources", additionalType="Collection")
        report = self.add("#output-numbers", "FormalParameter", name="numbers", additionalType="File")
        self.parts.append(SNAKEFILE)
        self.add(
            SNAKEFILE,
            ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            name="D3 pipeline",
            url=self.code,
            version=str(git.get("commit") or "unknown"),
            programmingLanguage=language,
            encodingFormat=self.format(SNAKEFILE),
            conformsTo={"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"},
            hasPart=tools,
            step=[{"@id": f"#step-{stage}"} for stage in stages],
            input=[sources],
            output=[report],
        )
        self.add(
            "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE", "CreativeWork",
            name="ComputationalWorkflow", version="1.0",
        )  # fmt: skip
        outside = _unique(item for statement in statements for item in statement.inputs
                          if self.side.run.producer(item.path) is None)  # fmt: skip
        made = self.side.stages.get("source") or []
        shards = _unique([*outside, *(item for statement in made for item in statement.outputs)])
        references = self.files("sources", shards)
        self.add(
            "#sources", "Collection", name="What came from outside, and source shards", hasPart=references,
            mainEntity=references[0] if references else None, exampleOfWork=sources,
        )  # fmt: skip
        self.mentions.append("#sources")
        self.entities["#input-sources"]["workExample"] = {"@id": "#sources"}
        self.entities["#output-numbers"]["workExample"] = {"@id": "numbers.json"}
        self.entities["numbers.json"]["exampleOfWork"] = report
        self.add(
            "#run",
            "CreateAction",
            name=f"run {self.side.numbers['run']}",
            description=f"{len(statements):,} jobs in {len(stages)} stages",
            instrument={"@id": SNAKEFILE},
            agent=self._agent(),
            object=[{"@id": "#sources"}],
            result=[{"@id": name} for name in ("numbers.json", "report.html", "attrition.tsv")],
            startTime=min(_time(statement.started_on) for statement in statements),
            endTime=max(_time(statement.finished_on) for statement in statements),
            actionStatus="http://schema.org/CompletedActionStatus",
        )
        return "#run"

    def _engine(self, stages: Sequence[str], whole: str) -> None:
        versions = {
            packages["snakemake"]
            for statements in self.side.stages.values()
            for statement in statements
            if "snakemake" in (packages := statement.facts.get("packages") or {})
        }
        engine = self.add(
            f"{SNAKEMAKE}/#engine", "SoftwareApplication", name="Snakemake", url=SNAKEMAKE,
            softwareVersion=max(versions, default="9.27"),
        )  # fmt: skip
        self.add(
            "#orchestration",
            "OrganizeAction",
            name="run of the workflow engine",
            instrument=engine,
            agent=self._agent(),
            object=[{"@id": f"#control-{stage}"} for stage in stages],
            result={"@id": whole},
            startTime=self.entities[whole]["startTime"],
            endTime=self.entities[whole]["endTime"],
        )

    def _root(self, stages: Sequence[str]) -> None:
        for page, name in PROFILES.items():
            self.add(page, "CreativeWork", name=name, version=page.rsplit("/", 1)[1])
        counted = ", ".join(f"{name} {count:,}" for name, count in self.licences.items()) or "none known"
        terms = self.add("#licences", "CreativeWork", name="The licences of the source files",
                         description=f"Source files by licence: {counted}")  # fmt: skip
        agent = self._agent()
        root: Entity = {
            "@id": "./",
            "@type": "Dataset",
            "name": f"D3 run {self.side.numbers['run']}",
            "description": f"A run of the D3 pipeline over the stages {', '.join(stages)}.",
            "datePublished": self.entities["#run"]["endTime"],
            "license": terms,
            "conformsTo": [{"@id": page} for page in PROFILES],
            "mainEntity": {"@id": SNAKEFILE},
            "hasPart": [{"@id": name} for name in dict.fromkeys(self.parts)],
            "mentions": [{"@id": name} for name in dict.fromkeys(self.mentions)],
        }
        if agent:
            root["author"] = agent
            place = self.entities["#author"].get("affiliation")
            root |= {"publisher": place} if place else {}
        descriptor: Entity = {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [
                {"@id": "https://w3id.org/ro/crate/1.1"},
                {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
            ],
        }
        self.entities = {descriptor["@id"]: descriptor, "./": root, **self.entities}


def _single(value: Any) -> Any:
    """Return the only member of a list alone, as JSON-LD recommends."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _time(time: str) -> str:
    """Return a time with the offset that the validator accepts, which is not `Z`."""
    return time.replace("Z", "+00:00")


README = """# D3 run {run}

`ro-crate-metadata.json` describes this run for machines (Workflow Run RO-Crate 0.5, Provenance Run profile).
`report.html` is its report, `numbers.json` holds every number of it, `attrition.tsv` the rows of every stage.
`statements.jsonl` holds the in-toto statement of every job. Data and models are named with their SHA-256.
"""


def _unique(items: Iterable[Artefact]) -> list[Artefact]:
    found = {item.path: item for item in items}
    return [found[path] for path in sorted(found)]


def _added(statements: Iterable[Statement]) -> dict[str, int]:
    several = list(statements)
    return {"read": sum(item.read for item in several), "kept": sum(item.kept for item in several)}


def write_crate(
    side: Side, folder: Path, licences: Mapping[str, int], author: Author | None = None, code: str = ""
) -> Path:
    """Write the crate of a run into `folder`, which must be new or empty; gives the metadata file.

    `code` is the address of the pipeline's code, if it has one.

    Raises D3Error for a folder that holds something else.
    """
    from d3.errors import D3Error

    if folder.exists() and any(folder.iterdir()):
        raise D3Error("is not empty", where=str(folder), remedy="name a new folder")
    crate = Crate(side, licences, author, code)
    metadata = crate.build()
    with written_whole(folder) as part:
        part.mkdir()
        report = side.root / "results" / "runs" / str(side.numbers["run"])
        for name in ("numbers.json", "report.html", "attrition.tsv"):
            shutil.copyfile(report / name, part / name)
        (part / "README.md").write_text(README.format(run=side.numbers["run"]), encoding="utf-8")
        (part / "workflow").mkdir()
        shutil.copyfile(REPOSITORY / SNAKEFILE, part / SNAKEFILE)
        (part / "facts").mkdir()
        for path in sorted((side.root / FACTS).glob("*.json")):
            shutil.copyfile(path, part / "facts" / path.name)
        with (part / "statements.jsonl").open("w", encoding="utf-8") as lines:
            for name in sorted(side.run.statements):
                lines.write(json.dumps(json.loads((side.root / name).read_bytes()), ensure_ascii=False) + "\n")
        remove(part / "ro-crate-metadata.json")
        text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
        (part / "ro-crate-metadata.json").write_text(text, encoding="utf-8")
    return folder / "ro-crate-metadata.json"
