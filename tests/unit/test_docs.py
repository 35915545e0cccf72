"""The documentation: links and anchors resolve, commands and targets exist, the README's example is what comes out."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3.cli import main
from d3.pipeline.registry import STAGES
from helpers.paths import ROOT

README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in HEADING.findall(prose(page))]
    return {re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def targets(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the text, file and anchor of every relative link."""
    for link in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", link):
            file, _, anchor = link.partition("#")
            yield link, (page.parent / file).resolve() if file else page, anchor


def shell_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command in the `sh` blocks of a page."""
    for language, block in FENCED.findall(page.read_text()):
        if language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    if words := shlex.split(command, comments=True):
                        yield words


def help_text(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Return what `d3 COMMAND --help` prints."""
    try:
        code: object = main([*command, "--help"])
    except SystemExit as ended:
        code = ended.code
    assert code == 0, f"no command d3 {' '.join(command)}"
    return capsys.readouterr().out


def test_all_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "config/README.md", "docs/stages.md"} <= set(names(PAGES))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    for link, file, anchor in targets(page):
        assert file.exists(), f"{link}: file not found"
        assert not anchor or anchor in anchors(file), f"{link}: heading not found"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_make_targets_exist(page: Path) -> None:
    makefile = re.sub(r"\$\(IMAGES:%=image-%\)", "image-data", (ROOT / "Makefile").read_text())
    known = {name for rule in re.findall(r"^([\w./ -]+):(?!=)", makefile, re.MULTILINE) for name in rule.split()}
    used = re.findall(r"`make ([a-z][a-z-]*)`?", prose(page))
    for words in shell_lines(page):
        if words[0] == "make":
            used += [word for word in words[1:] if "=" not in word and not word.startswith("-")]
    assert set(used) <= known


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_and_their_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = set(re.findall(r"^ +([a-z][a-z-]*)\b", help_text(capsys), re.MULTILINE))
    assert "plan" in known
    named = set(re.findall(r"`d3 ([a-z][a-z-]*)", prose(page)))
    for words in shell_lines(page):
        if Path(words[0]).name == "d3":
            named.add(words[1])
            if words[1] != "run":  # its options are Snakemake's
                options = help_text(capsys, words[1])
                assert [word for word in words[2:] if word.startswith("--") and word not in options] == []
    assert named <= known


def test_every_page_is_linked() -> None:
    linked = {file for page in PAGES for _, file, _ in targets(page) if file != page}
    assert [page for page in PAGES if page not in linked and page != README] == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 180
    assert len(prose(README).split()) <= 1100


@pytest.mark.slow
def test_the_example_is_what_the_command_writes(tmp_path: Path) -> None:
    text = README.read_text()
    block = text.split("<!-- example: begin -->")[1].split("<!-- example: end -->")[0]
    (_, program), (_, completion) = FENCED.findall(block)
    (tmp_path / "files.jsonl").write_text(json.dumps({"id": "counter", "text": program}))
    command = re.findall(r"`d3 (.*--seed \d+)`", text)[0].split()
    subprocess.run([sys.executable, "-m", "d3", *command], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (row,) = pq.read_table(tmp_path / "diffs.parquet").to_pylist()
    assert completion == "".join(f"<|diff|>{diff}\n" for diff in row["diffs"])


@pytest.mark.slow
def test_the_website_has_a_page_for_every_stage(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (tmp_path / "stages").iterdir()} == set(STAGES)
    page = (tmp_path / "stages" / "corpus.html").read_text()
    assert "max_stars_repo_name" in page
    assert 'href="contamination.html"' in page


@pytest.mark.slow
def test_a_link_of_the_website_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".*", "results", "resources", "build", "work", "tests"))
    page = copied / "docs" / "usage.md"
    page.write_text(page.read_text() + "\n[lost](#no-such-heading)\n")
    build = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=copied, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no-such-heading" in done.stderr
