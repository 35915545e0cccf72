"""The report in headless Chromium: it draws, sorts, searches and steps, asks for nothing, and no text becomes a script.

Skipped where there is no Chromium; in continuous integration (`D3_CI=1`) it must be there.
"""

import json
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from d3.core.printable import printable
from d3.report.page import PARTS, render
from helpers.browser import Browser, require_chromium
from helpers.injections import MARKUP
from helpers.report_run import Made

pytestmark = pytest.mark.slow

FIXED = {"stage", "mode", "diffs", "sha256", "kind", "verdict_kinds"}
"""Fields whose values are looked up by their name, or must stay diffs."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the files of a small run whose files and answers contain all texts that attack a page."""
    return Made(tmp_path_factory.mktemp("run"), text="\n".join(MARKUP)).write_report()


@pytest.fixture(scope="module")
def numbers(run: dict[str, Path]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(run["numbers"].read_text())
    return values


@pytest.fixture(scope="module")
def page(run: dict[str, Path], browser: Browser) -> Path:
    """Return the page of the small run, open in the browser at the size of a laptop."""
    browser.view(1280, 900)
    browser.open(run["report"])
    return run["report"]


def opened(browser: Browser, page: Path) -> None:
    browser.errors.clear()
    browser.requests.clear()
    browser.open(page)


OF_DATA = ("reasons", "splits", "statuses", "verdicts", "verbs", "dropped", "kinds", "arms", "answers")
"""Dicts whose keys are data."""


def attacked(numbers: dict[str, Any], text: str) -> dict[str, Any]:
    def walk(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            mark = f" {text}" if name in OF_DATA else ""
            return {f"{key}{mark}": inner if key in FIXED else walk(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return f"{value} {text}" if isinstance(value, str) else value

    changed: dict[str, Any] = walk({name: inner for name, inner in numbers.items() if name != "config"})
    for benchmark in changed["benchmarks"]:
        benchmark["verdict_kinds"] = [f"{kind} {text}" for kind in benchmark["verdict_kinds"]]
    for row in changed["lineage"]:
        row["stage"] = f"{row['stage']} {text}"
    changed["config"] = {**numbers["config"], "run": text, "arms": {text: {"midtrain": True}}}
    changed["config"]["model"] = {**numbers["config"]["model"], "path": text}
    return changed


class Tags(HTMLParser):
    """Counts the tags and names of attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.attributes |= {name for name, _ in attrs}


def test_the_page_draws_every_figure_and_asks_for_nothing(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert browser.errors == []
    assert set(browser.requests) == {page.resolve().as_uri()}
    charts = browser.run("document.querySelectorAll('.chart').length")
    assert charts == browser.run("document.querySelectorAll('.chart.drawn svg').length") == 15
    for number in range(charts):
        box = f"document.querySelectorAll('.chart')[{number}]"
        clip = browser.run(
            f"(() => {{ const r = {box}.getBoundingClientRect();"
            "return { x: r.x, y: r.y + scrollY, width: r.width, height: r.height } })()"
        )
        drawn = browser.screenshot(clip=clip)
        browser.run(f"{box}.style.visibility = 'hidden'")
        empty = browser.screenshot(clip=clip)
        browser.run(f"{box}.style.visibility = ''")
        assert len(drawn) > 1.5 * len(empty), browser.run(f"{box}.dataset.spec")


def test_every_figure_is_on_a_page_for_the_report_of_snakemake(
    browser: Browser, numbers: dict[str, Any], page: Path, tmp_path: Path
) -> None:
    specs = "[...document.querySelectorAll('.chart.drawn')].map((place) => place.dataset.spec)"
    opened(browser, page)
    whole, found = set(browser.run(specs)), []
    for part in PARTS:
        path = tmp_path / f"{part}.html"
        path.write_text(render(numbers, part), encoding="utf-8")
        opened(browser, path)
        found += browser.run(specs)
        assert browser.errors == []
        assert browser.run("document.title") == f"D3 run demo: {part}"
        assert "no result" in browser.run("document.querySelector('.demo').textContent")
    assert set(found) == whole - {"spec-time"}
    assert len(found) == len(set(found))
    browser.open(page)


def test_a_script_that_the_policy_does_not_name_never_runs(browser: Browser, page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    other = tmp_path / "other.html"
    other.write_text(text.replace("</main>", "<script>window.hit = 1</script></main>", 1))
    opened(browser, other)
    assert browser.run("window.hit") is None
    assert any("Content Security Policy" in error for error in browser.errors)


def test_no_text_of_a_run_becomes_markup_or_script(browser: Browser, numbers: dict[str, Any], tmp_path: Path) -> None:
    attack = " ".join(MARKUP)
    path = tmp_path / "attacked.html"
    text = render(attacked(numbers, attack))
    path.write_text(text, encoding="utf-8")
    tags, harmless = Tags(text), Tags(render(attacked(numbers, "harmless")))
    del tags.found["i"], harmless.found["i"]  # colors of the tokens of a program
    assert tags.found == harmless.found
    assert tags.attributes == harmless.attributes
    opened(browser, path)
    assert browser.run("window.hit") is None
    assert browser.errors == []
    assert set(browser.requests) == {path.resolve().as_uri()}
    assert browser.run("document.title") == " ".join(f"D3 run demo {printable(attack)}: report".split())
    assert browser.run("document.querySelector('h1').textContent").endswith(f"{attack}”")
    browser.run("document.querySelectorAll('tbody th button').forEach((button) => button.click())")
    assert browser.run("document.querySelector('.opened pre').textContent").count(MARKUP[0]) >= 2
    assert browser.run("window.hit") is None
    assert not browser.run(
        "document.querySelectorAll('main img, main iframe, main base, main link, main style').length"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_phones_and_uses_wide_screens(browser: Browser, page: Path, dark: bool) -> None:
    browser.view(390, 844, dark=dark, phone=True)
    opened(browser, page)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    sizes = browser.run(
        "[...document.querySelectorAll('.chart svg, svg.lineage')].flatMap((svg) => {"
        "const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
        "return [...svg.querySelectorAll('text')].filter((text) => text.textContent)"
        ".map((text) => parseFloat(getComputedStyle(text).fontSize) * scale) })"
    )
    assert len(sizes) > 100
    assert min(sizes) >= 11 - 0.01
    browser.view(2560, 1440, dark=dark)
    opened(browser, page)
    left, right = browser.run(
        "(() => { const cards = [...document.querySelectorAll('main .card')];"
        "const boxes = cards.map((card) => card.getBoundingClientRect());"
        "return [Math.min(...boxes.map((box) => box.left)), Math.max(...boxes.map((box) => box.right))] })()"
    )
    assert right - left >= 0.6 * 2560
    assert browser.errors == []
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") != dark
    browser.view(1280, 900)
    browser.open(page)


def test_diff_sequences_are_stepped_with_keys_and_buttons(browser: Browser, page: Path) -> None:
    shown = "document.querySelector('#sequences .stepper li.on').textContent"
    count = "document.querySelector('#sequences .stepper output').textContent"
    first = browser.run(shown)
    assert browser.run(count).startswith("1 of ")
    browser.run("document.querySelector('#sequences .stepper input').focus()")
    browser.press("ArrowRight")
    assert browser.run(count).startswith("2 of ")
    assert browser.run(shown) != first
    assert browser.run("document.querySelectorAll('#sequences .stepper li.on .add').length") >= 1
    browser.run("document.querySelector('#sequences .stepper button').click()")
    assert browser.run(shown) == first
    visible = "[...document.querySelectorAll('#sequences .stepper li')].filter((step) => step.offsetParent).length"
    assert browser.run(visible) == 1


def test_tasks_are_sorted_searched_and_opened(browser: Browser, page: Path) -> None:
    table = "document.querySelector('#evaluation [data-rows]')"
    names = f"[...{table}.querySelectorAll('tbody tr:not(.opened) th')].map((cell) => cell.textContent)"
    assert browser.run(names) == [f"HumanEval/{number}" for number in range(8)]
    heads = f"[...{table}.querySelectorAll('thead button')]"
    browser.run(f"{heads}.find((head) => head.textContent === 'd3').focus()")
    browser.press("Enter")
    browser.press("Enter")
    assert browser.run(names)[:3] == ["HumanEval/5", "HumanEval/6", "HumanEval/7"]
    assert browser.run(f"{heads}[2].parentElement.ariaSort") == "descending"
    search = f"{table}.querySelector('input')"
    browser.run(f"{search}.value = 'eval/6'; {search}.dispatchEvent(new Event('input'))")
    assert browser.run(names) == ["HumanEval/6"]
    browser.run(f"{table}.querySelector('tbody button').focus()")
    browser.press("Enter")
    texts = browser.run(f"{table}.querySelector('.opened').textContent")
    for text in ("The prompt", "passed", "AssertionError: expected 6", "The program", "What the model wrote"):
        assert text in texts
    assert browser.run(f"{table}.querySelectorAll('.opened .stepper.live').length") == 2
    browser.press("Enter")
    assert browser.run(f"{table}.querySelector('.opened')") is None


def test_other_runs_are_shown_beside_this_one(
    browser: Browser, page: Path, numbers: dict[str, Any], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**numbers, "run": MARKUP[0]}))
    wrong = tmp_path / "wrong.json"
    wrong.write_text("no numbers")
    root = browser.send("DOM.getDocument")["root"]["nodeId"]
    node = browser.send("DOM.querySelector", nodeId=root, selector="#other-runs")["nodeId"]
    browser.send("DOM.setFileInputFiles", files=[str(other), str(wrong)], nodeId=node)
    browser.run("new Promise((done) => setTimeout(done, 200))")
    heads = browser.run("[...document.querySelectorAll('#runs thead th')].map((cell) => cell.textContent)")
    assert heads == ["Number", "demo", MARKUP[0]]
    assert browser.run("document.querySelectorAll('#runs tbody tr').length") == len(numbers["key"])
    assert "wrong.json must be the numbers.json of a run" in browser.run("document.querySelector('#runs').textContent")


def test_the_page_can_be_printed(browser: Browser, page: Path) -> None:
    browser.view(800, 1100, media="print")
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.run("document.querySelector('#config pre').getBoundingClientRect().height") > 100
    assert browser.run("document.documentElement.scrollWidth") <= 800
    browser.view(1280, 900)


def test_budgets_of_a_small_run_and_of_ten_thousand_tasks(
    browser: Browser, numbers: dict[str, Any], page: Path, tmp_path: Path
) -> None:
    assert page.stat().st_size < 3_000_000
    benchmark = numbers["benchmarks"][0]
    tasks = [
        {"task": f"Task/{number}", "arms": {"baseline": [number % 3, 3], "d3": [1, 3]}} for number in range(10_000)
    ]
    large = tmp_path / "large.html"
    large.write_text(render({**numbers, "benchmarks": [{**benchmark, "per_task": tasks}]}), encoding="utf-8")
    assert large.stat().st_size < 6_000_000
    browser.send("Performance.enable", timeDomain="threadTicks")
    for path, seconds in ((page, 1.0), (large, 2.0)):
        before = spent(browser)
        browser.open(path)
        assert spent(browser) - before < seconds  # of the page's thread, so that a busy machine does not matter
    table = "document.querySelector('#evaluation [data-rows]')"
    browser.run(f"{table}.querySelector('input').value = 'task/9999'")
    browser.run(f"{table}.querySelector('input').dispatchEvent(new Event('input'))")
    assert "1 of 10,000 rows" in browser.run(f"{table}.textContent")
    browser.open(page)


def spent(browser: Browser) -> float:
    values = {row["name"]: row["value"] for row in browser.send("Performance.getMetrics")["metrics"]}
    return float(values["TaskDuration"])


def test_without_chromium_these_tests_are_skipped_but_fail_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("D3_CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        require_chromium()
    monkeypatch.setenv("D3_CI", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        require_chromium()
