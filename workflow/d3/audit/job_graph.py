"""All statements of a working folder in memory, and who made what: the ground of every check."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from d3.audit.statements import Artefact, Statement, enclosing, find_statements, name_below, read_statement
from d3.core.printable import printable
from d3.errors import InputError
from d3.provenance.statement import SUFFIX


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    path: str
    what: str
    jobs: tuple[str, ...] = ()
    """Statements of the jobs that must run again to mend it."""
    note: bool = False
    """Whether it only says something: no result is wrong because of it."""

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.what}")


@dataclass(kw_only=True)
class Run:
    """What all jobs said, by statement and by file."""

    root: Path
    """The working folder."""
    statements: dict[str, Statement] = field(default_factory=dict)
    made: dict[str, tuple[Statement, Artefact]] = field(default_factory=dict)
    """File or folder -> who made it, and what it was then."""
    faults: list[Finding] = field(default_factory=list)
    """What was wrong with the statements themselves while they were read."""

    def producer(self, path: str) -> tuple[Statement, Artefact] | None:
        """Return who made a file, or the folder that it lies in."""
        for place in enclosing(path):
            if place in self.made:
                return self.made[place]
        return None

    def consumers(self) -> Iterator[tuple[Statement, Artefact]]:
        """Yield every (job, input)."""
        for statement in self.statements.values():
            for item in statement.inputs:
                yield statement, item

    def before(self, statement: Statement) -> list[Statement]:
        """Return the jobs that made a job's inputs."""
        found = (self.producer(item.path) for item in statement.inputs)
        return list({made[0].path: made[0] for made in found if made}.values())

    def upstream(self, targets: list[Statement]) -> "Run":
        """Return the part of the run that some jobs and all before them are."""
        waiting, chosen = list(targets), dict[str, Statement]()
        while waiting:
            statement = waiting.pop()
            if statement.path not in chosen:
                chosen[statement.path] = statement
                waiting += self.before(statement)
        kept = {path: made for path, made in self.made.items() if made[0].path in chosen}
        return Run(root=self.root, statements=chosen, made=kept)


def load(root: Path) -> Run:
    """Read all statements below a working folder; what cannot be read becomes a finding."""
    run = Run(root=root)
    for path in find_statements(root):
        name = path.relative_to(root).as_posix()
        try:
            statement = read_statement(root, path)
        except InputError as error:
            run.faults.append(Finding(path=name, what=error.reason, jobs=(name,)))
            continue
        run.statements[name] = statement
        for item in statement.outputs:
            if item.path in run.made:
                other = run.made[item.path][0].path
                what = f"two statements say that they made {item.path}: {other} and this one"
                run.faults.append(Finding(path=name, what=what, jobs=(name, other)))
            else:
                run.made[item.path] = (statement, item)
    return run


def find_target(run: Run, target: str) -> Statement:
    """Return the job that made a file, or whose statement a path is; raises InputError for no such job."""
    made = run.producer((name_below(run.root, target) or target).removesuffix(SUFFIX))
    if made is None:
        raise InputError("no statement names this file", where=target, remedy="check the path")
    return made[0]
