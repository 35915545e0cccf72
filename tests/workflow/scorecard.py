"""Print what must and must not rerun, case by case: this project beside Snakemake alone.

The left column comes from running the tests named `case_NN` now, the right one from running a toy workflow with
Snakemake's own rules now; `*` marks what was only seen before, with Snakemake 9.27.1.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

HERE = Path(__file__).parent
TESTS = ("test_stale.py", "test_stale_content.py", "test_stale_identity.py")
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
OLD = 1_000_000_000

TOY = {
    "Snakefile": (
        "rule all:\n    input: 'b.txt', 's.txt', 'c.txt', 'd.txt', 'e.txt', 'f.txt'\n\n"
        "rule a:\n    input: 'in.bin'\n    output: 'a.txt'\n    threads: 1\n"
        "    shell: 'PYTHONPATH=. python -m tool {input} {output}'\n\n"
        "rule b:\n    input: 'a.txt'\n    output: 'b.txt'\n    shell: 'cp {input} {output}'\n\n"
        "rule s:\n    output: 's.txt'\n    script: 's.py'\n\n"
        "rule c:\n    output: 'c.txt'\n    params: x=1, y=2\n    shell: 'echo {params.x} {params.y} > {output}'\n\n"
        "rule d:\n    input: 'weights'\n    output: 'd.txt'\n    shell: 'cat {input}/* > {output}'\n\n"
        "rule e:\n    input: 'link.bin', 'one.bin', 'two.bin'\n    output: 'e.txt'\n"
        "    shell: 'cat {input} > {output}'\n\n"
        "rule f:\n    output: 'f.txt'\n    params: prompt='prompt.txt'\n    shell: 'cat {params.prompt} > {output}'\n"
    ),
    "tool.py": (
        "import sys, pathlib\n"
        "inputs = [pathlib.Path(name).read_bytes() for name in (sys.argv[1], 'prompt.txt', 'model.txt')]\n"
        "pathlib.Path(sys.argv[2]).write_bytes(b''.join(inputs))\n"
    ),
    "s.py": "open(snakemake.output[0], 'w').write('s')\n",
    "prompt.txt": "prompt",
    "model.txt": "model",
    "in.bin": "x" * 3_000_000,
    "weights/1.bin": "x" * 3_000_000,
    "weights/2.bin": "y" * 3_000_000,
    "one.bin": "1" * 3_000_000,
    "two.bin": "2" * 3_000_000,
}


def snakemake(folder: Path, *words: str) -> set[str]:
    """Run Snakemake alone; gives the rules that it ran or would run."""
    line = [SNAKEMAKE, "--cores", "1", "--profile", "none", "--workflow-profile", "none", *words]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True)
    return set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE)) - {"all"}


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def touch(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).touch()


def older(folder: Path) -> None:
    (folder / "in.bin").write_text("y" * 3_000_000)
    os.utime(folder / "in.bin", (OLD, OLD))


def in_place(name: str) -> Callable[[Path], None]:
    """Write other bytes of the same size and put the time back, as `cp -p` of such a file does."""

    def change(folder: Path) -> None:
        path = folder / name
        before = path.stat()
        path.write_text("z" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return change


def swap(folder: Path) -> None:
    one, two, aside = folder / "weights/1.bin", folder / "weights/2.bin", folder / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def restore(folder: Path) -> None:
    """Put an older file in the place of one by renaming, as `rsync -t` does; the folder's time is restored as well."""
    before = (folder / "weights").stat()
    (folder / "older").write_text("z" * 3_000_000)
    os.utime(folder / "older", (OLD, OLD))
    (folder / "older").rename(folder / "weights/1.bin")
    os.utime(folder / "weights", ns=(before.st_atime_ns, before.st_mtime_ns))


def point_elsewhere(folder: Path) -> None:
    (folder / "link.bin").unlink()
    (folder / "link.bin").symlink_to("two.bin")


def rename_tool(folder: Path) -> None:
    (folder / "tool.py").rename(folder / "renamed.py")
    replace("Snakefile", "-m tool", "-m renamed")(folder)


class Case(NamedTuple):
    number: int
    change: str
    owed: str
    recorded: str
    """What Snakemake alone did when it was tried; `wrong` is in it where that is wrong."""
    act: Callable[[Path], None] | None = None
    """Makes the change in the toy workflow."""
    right: frozenset[str] = frozenset()
    """The rules of the toy that should run."""
    words: tuple[str, ...] = ("-n",)


AB = frozenset("ab")
CASES = [
    Case(1, "a module is edited", "stages that import it", "nothing (wrong)", replace("tool.py", "b''", "b'-'"), AB),
    Case(2, "a module gets a new time", "nothing", "nothing", touch("tool.py")),
    Case(3, "a script: file is touched", "nothing", "reruns (wrong)", touch("s.py")),
    Case(4, "an image is rebuilt with other content", "stages in it", "nothing (wrong)"),
    Case(5, "an image is rebuilt alike", "nothing", "-"),
    Case(6, "other bytes with an older time", "the shard's chain", "nothing (wrong)", older, AB),
    Case(7, "a large shard is touched", "nothing", "reruns (wrong)", touch("in.bin")),
    Case(8, "two parameters swap values", "the stage", "nothing (wrong)", replace("Snakefile", "x=1, y=2", "x=2, y=1"),
         frozenset("c")),
    Case(9, "a setting of one stage changes", "it and what follows", "-"),
    Case(10, "a prompt changes", "the stage that uses it", "nothing (wrong)", replace("prompt.txt", "p", "P"), AB),
    Case(11, "a model changes", "the stages that ask it", "nothing (wrong)", replace("model.txt", "m", "M"), AB),
    Case(12, "threads, memory, partition", "nothing", "nothing", lambda folder: None, frozenset(),
         ("-n", "--set-threads", "a=2")),
    Case(13, "white space in a shell block", "nothing", "reruns (wrong)", replace("Snakefile", "'cp ", "'cp  ")),
    Case(14, "upstream comes out the same", "downstream is skipped", "goes on (wrong)", lambda folder: None,
         frozenset("a"), ("--forcerun", "a")),
    Case(15, "an output is tampered with", "found, rebuilt", "nothing (wrong)", replace("b.txt", "prompt", "Prompt"),
         frozenset("b")),
    Case(16, "one file of a shard changes", "its requests only", "the whole shard again (wrong)"),
    Case(17, "an entry joins the opt-out list", "what contained it", "-"),
    Case(18, "one shard is added", "its chain, aggregates", "its chain, aggregates"),
    Case(19, "repeated on another machine", "the same bytes", "runs everything"),
    Case(20, "dry run without images", "a message", "everything stale (wrong)"),
    Case(21, "weights of a model by cp -p", "what asks it", "nothing (wrong)", in_place("weights/1.bin"),
         frozenset("d")),
    Case(22, "weights of a model swapped by mv", "what asks it", "nothing (wrong)", swap, frozenset("d")),
    Case(23, "older checkpoint by rsync -t", "what asks it", "nothing (wrong)", restore, frozenset("d")),
    Case(24, "shard of equal size and time", "the shard's chain", "nothing (wrong)", in_place("in.bin"), AB),
    Case(25, "an intermediate is missing", "it alone", "goes on (wrong)",
         lambda folder: (folder / "a.txt").unlink(), frozenset("a")),
    Case(26, "another spelling of a model's path", "nothing", "reruns (wrong)",
         replace("Snakefile", "'weights'", "'./weights/'")),
    Case(27, "another path of the same prompt", "nothing", "reruns (wrong)",
         replace("Snakefile", "'prompt.txt'", "'./prompt.txt'")),
    Case(28, "a new setting at its neutral value", "nothing", "reruns (wrong)",
         replace("Snakefile", "x=1, y=2", "x=1, y=2, z=None")),
    Case(29, "another shell text of a rule", "its stage", "its stage", replace("Snakefile", "'cp {", "'cp -f {"),
         frozenset("b")),
    Case(30, "an unrelated package is installed", "nothing", "nothing"),
    Case(31, "another minor version of Python", "stages that run in it", "nothing (wrong)"),
    Case(32, "a link leads to another file", "what reads it", "what reads it", point_elsewhere, frozenset("e")),
    Case(33, "an entry leaves the opt-out list", "what its rows were in", "-"),
    Case(34, "another order of the shards", "nothing", "reruns (wrong)",
         replace("Snakefile", "'one.bin', 'two.bin'", "'two.bin', 'one.bin'")),
    Case(35, "a start script is edited", "stages that it starts", "nothing (wrong)"),
    Case(36, "a module is renamed", "nothing", "reruns (wrong)", rename_tool),
]  # fmt: skip


def plain(case: Case, finished: Path, scratch: Path) -> str:
    """Say what Snakemake alone does in a case."""
    if case.act is None:
        return f"{case.recorded} *"
    folder = shutil.copytree(finished, scratch / str(case.number), symlinks=True)
    case.act(folder)
    ran = snakemake(folder, *case.words)
    said = f"runs {', '.join(sorted(ran))}" if ran else "nothing"
    return said if ran == case.right else f"{said} (wrong)"


def outcomes() -> dict[int, bool]:
    """Run the cases of this project; gives by number whether all of its tests passed."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        files = [str(HERE / name) for name in TESTS]
        line = [sys.executable, "-m", "pytest", "-q", *files, "-k", "case_", f"--junitxml={report}"]
        subprocess.run(line, cwd=HERE.parents[1], stdout=sys.stderr, check=False)
        passed: dict[int, bool] = {}
        for test in ElementTree.parse(report).iter("testcase"):
            name = test.get("name", "")
            numbers = re.findall(r"\d\d", (re.search(r"case((?:_and|_\d\d)+)(?!.*case_)", name) or ["", ""])[1])
            for number in map(int, numbers):
                passed[number] = passed.get(number, True) and not list(test)
        return passed


def main() -> int:
    """Print the table; 1 if a case of this project fails."""
    with tempfile.TemporaryDirectory() as scratch:
        finished = Path(scratch, "toy")
        finished.mkdir()
        for name, text in TOY.items():
            (finished / name).parent.mkdir(exist_ok=True)
            (finished / name).write_text(text)
        (finished / "link.bin").symlink_to("one.bin")
        snakemake(finished)
        beside = {case.number: plain(case, finished, Path(scratch)) for case in CASES}
    passed = outcomes()
    print(f"{'':2} {'change between two runs':40} {'expected':24} {'d3':5} Snakemake alone")
    for case in CASES:
        here = "ok" if passed.get(case.number) else "FAIL"
        print(f"{case.number:2} {case.change:40} {case.owed:24} {here:5} {beside[case.number]}")
    good = sum(passed.get(case.number, False) for case in CASES)
    wrong = sum("wrong" in text for text in beside.values())
    print(f"{good} of {len(CASES)} by d3; Snakemake alone gets {wrong} wrong  (* as recorded with Snakemake 9.27.1)")
    return 0 if good == len(CASES) else 1


if __name__ == "__main__":
    sys.exit(main())
