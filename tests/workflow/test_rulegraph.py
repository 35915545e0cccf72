"""The rule graph in the documentation is the one that Snakemake draws."""

import re
import subprocess

from helpers.paths import ROOT, SNAKEMAKE


def rulegraph() -> str:
    """Return the rule graph as a Mermaid picture with rule names and no colours."""
    answer = subprocess.run(
        [str(SNAKEMAKE), "--configfile", "config/demo.yaml", "--rulegraph", "mermaid-js"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", answer.stdout))
    edges = re.findall(r"(id\d+) --> (id\d+)", answer.stdout)
    lines = sorted(f"    {names[first]} --> {names[second]}" for first, second in edges if names[second] != "report")
    return "\n".join(["```mermaid", "flowchart TB", *lines, "    scores --> report", "```"])


def test_the_documentation_shows_the_rule_graph() -> None:
    page = (ROOT / "docs" / "stages.md").read_text()
    shown = page.split("<!-- rulegraph: begin -->\n")[1].split("\n<!-- rulegraph: end -->")[0]
    assert shown == rulegraph()
