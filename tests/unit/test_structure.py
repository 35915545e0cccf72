"""The folders show the design: few modules at the root, imports that point down, one name for one thing."""

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from helpers.paths import WORKFLOW

ORDER = (
    *({"cli", "__main__", "commands"}, {"operate"}, {"audit"}, {"report"}, {"stages", "train", "evals"}, {"llm"}),
    *({"pipeline"}, {"lintseq", "sources"}, {"config", "provenance"}, {"core"}, {"errors", "__init__"}),
)
"""From top to bottom; folders of one level may import each other as long as no circle of modules results."""
INTERFACE = {"main", "run", "check", "read", "source", "SPEC"}
"""What several modules of a folder define alike, since the package calls them alike."""
FOLDERS = sorted(path.parent.relative_to(WORKFLOW / "d3").as_posix() for path in WORKFLOW.glob("d3/**/__init__.py"))


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported, also inside of `if` and `try`; not what only type checkers read."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        for part in ("body", "orelse", "handlers", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
                yield from statements(getattr(node, part, []))


MODULES = {
    ".".join(path.relative_to(WORKFLOW).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
    for path in WORKFLOW.glob("d3/**/*.py")
}


def imports(module: str) -> set[str]:
    """Return the modules of the package that a module imports at its top level."""
    found = set()
    for node in statements(MODULES[module].body):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & MODULES.keys() - {module, "d3"}


def level(module: str) -> int:
    name = module.split(".")[1] if "." in module else "__init__"
    return next(number for number, names in enumerate(ORDER) if name in names)


def test_the_root_holds_at_most_five_modules() -> None:
    assert len(list(WORKFLOW.glob("d3/*.py"))) <= 5


def test_imports_point_down() -> None:
    up = {f"{module} -> {name}" for module in MODULES for name in imports(module) if level(name) < level(module)}
    assert sorted(up) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: imports(module) for module in MODULES}
    while ends := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in ends}
    assert sorted(left) == []  # what stays is in a circle or leads into one


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_public_name_is_defined_twice_in_a_folder(folder: str) -> None:
    names: Counter[str] = Counter()
    for path in (WORKFLOW / "d3" / folder).glob("*.py"):
        found = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
        names.update(name for name in found if not name.startswith("_") and name not in INTERFACE)
    assert {name: count for name, count in names.items() if count > 1} == {}
