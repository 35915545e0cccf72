"""Hooks of MkDocs: pages that lie outside of docs/, and a page for each stage, made from the registry.

The README is the first page. Links between pages follow their files; a link to any other file of the repository
shows its name alone, since the website holds pages only.
"""

import inspect
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

LINK = re.compile(r"(!?)\[([^]]+)\]\(([^)\s]+)\)")
GENERATED = "stages"
"""Folder of the generated pages."""


def pages_outside() -> dict[str, str]:
    """Return the pages of the repository outside of docs/ with their paths on the website."""
    found = {"README.md": "index.md"}
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")]):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(("docs/", "build/")):
            found.setdefault(name, name.replace("README", "index").lower().replace("/index", "/readme"))
    return found


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages: the README, the guides, the reference, a page for each stage."""
    from d3.pipeline.registry import STAGES

    guides = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    others = [path for path in pages_outside().values() if path != "index.md"]
    stages = [f"{GENERATED}/{name}.md" for name in STAGES]
    config.nav = ["index.md", {"Guides": guides}, {"Stages": stages}, {"Repository": others}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/ and those of the stages."""
    from d3.pipeline.registry import STAGES

    for source, path in pages_outside().items():
        files.append(File.generated(config, path, content=(ROOT / source).read_text(encoding="utf-8")))
    for name in STAGES:
        files.append(File.generated(config, f"{GENERATED}/{name}.md", content="\n".join(stage_page(name))))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let relative links lead to the pages of the website."""
    outside = pages_outside()
    here = page.file.src_uri
    source = next((name for name, path in outside.items() if path == here), f"docs/{here}")
    if here.startswith(f"{GENERATED}/"):
        return markdown

    def follow(match: re.Match[str]) -> str:
        image, text, link = match.groups()
        file, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or not file:
            return match.group()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), file))
        path = outside.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
        if files.get_file_from_path(path) is None:
            return text
        relative = posixpath.relpath(path, posixpath.dirname(here) or ".")
        return f"{image}[{text}]({relative}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(follow, markdown)


def stage_page(name: str) -> Iterator[str]:
    """Yield the lines of the page of a stage: what it does, reads, writes, asks of a machine, and its command."""
    from d3.config.models import Config
    from d3.pipeline.registry import STAGES

    stage = STAGES[name]
    yield from (f"# {name}", "", module_text(stage.module), "")
    yield from ("| | |", "|---|---|")
    yield f"| rule | `{stage.rule}` |"
    yield f"| command | `d3 {stage.command}` |"
    yield f"| one job per | {stage.over if stage.over != 'once' else 'run'} |"
    yield f"| environment | `{stage.environment}` |"
    above = [*dict.fromkeys((*stage.upstream, *filter(None, [stage.rows_of]), *stage.looks_up))]
    reads = ", ".join(f"[{other}]({other}.md)" if other in STAGES else f"`{other}`" for other in above)
    yield f"| reads | {reads or 'files from outside'} |"
    followers = [other for other, record in STAGES.items() if name in record.reads]
    yield f"| read by | {', '.join(f'[{other}]({other}.md)' for other in followers) or 'people'} |"
    yield f"| target | `{stage.target}` |"
    resources = stage.resources(Config()) if callable(stage.resources) else stage.resources
    yield f"| memory of the first attempt | {resources.memory_mb:,} MB |"
    yield f"| time limit of the first attempt | {resources.minutes} minutes |"
    yield from ("", "## Outputs", "", f"Below `{stage.within.replace('{stage}', name)}/`:", "")
    for output in stage.outputs:
        yield f"- `{output.path}`" + (f", a table of {len(columns(output.schema))} columns" if output.schema else "")
    for output in stage.outputs:
        if output.schema:
            yield from ("", f"### Columns of `{output.path}`", "", "| column | type |", "|---|---|")
            yield from (f"| `{column}` | {kind.replace('|', ' ')} |" for column, kind in columns(output.schema))
    if stage.settings:
        yield from ("", "## Settings that decide it", "")
        yield from (f"- `{path}`" for path in stage.settings)
        yield from ("", "The configuration's reference explains each of them.")


def module_text(module: str) -> str:
    """Return the docstring of a module, without importing what it needs."""
    import ast

    base = ROOT / "workflow" / Path(*module.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def columns(schema: str) -> list[tuple[str, str]]:
    """Return names and types of the columns of a table."""
    from d3.core import schemas

    table: Any = getattr(schemas, schema)
    return [(field.name, str(field.type)) for field in table]
