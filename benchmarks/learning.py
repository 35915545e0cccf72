"""What training on D3 teaches, in one run that can be interrupted and started again with the same command.

    python benchmarks/learning.py --config benchmarks/learning.yaml --folder build/learning

It mid-trains one model on whole rows (`best_fit`), one on torn ones (`wrap`) and one with `<|diff|>` as one token
(`added`), fine-tunes the arms, and lets every arm continue the programs of held-out rows, whose source files no
training has seen. It prints

- the loss of held-out rows against the tokens that were trained on, by packing and with the added token; that one
  is compared in nats a character of the same texts as well, since its texts have fewer tokens;
- for every arm the share of answers that are diffs that apply, with Wilson's interval, and of those with more than one
  diff, on rows with a start program; arms are compared by the exact paired test;
- the CPU seconds of each step.

Each step is a stage of the pipeline in a process of its own; a step whose output is there is left out, a training
resumes from its last checkpoint, and answers come out of a journal.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from d3.config.load import load_config  # noqa: E402
from d3.config.models import Config  # noqa: E402
from d3.core.example_format import DIFF  # noqa: E402
from d3.core.example_tokens import ExampleTokens  # noqa: E402
from d3.core.ids import derive_seed  # noqa: E402
from d3.core.journal import Journal  # noqa: E402
from d3.core.schemas import DATASET  # noqa: E402
from d3.core.splits import is_held_out  # noqa: E402
from d3.core.tables import read_rows  # noqa: E402
from d3.evals.answer import build, read_answer  # noqa: E402
from d3.pipeline.checks import select  # noqa: E402
from d3.pipeline.pipeline import Chain  # noqa: E402
from d3.report.learning import paired, share  # noqa: E402

D3 = ROOT / "workflow" / "bin" / "d3"
STOP = ("\n</code>",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A mid-training."""

    name: str
    """Its name in the table."""
    changes: tuple[str, ...] = ()
    """Settings that differ from those of the file, as `KEY=VALUE`."""
    arms: tuple[str, ...] = ("d3",)
    """Arms that are fine-tuned with its settings."""


VARIANTS = (
    Variant(name="best_fit", arms=("d3", "baseline", "longer")),
    Variant(name="wrap", changes=("midtrain.packing=wrap",)),
    Variant(name="added", changes=('tokens.added=["<|diff|>"]',)),
)


class Run:
    """The steps of the run in its working folder."""

    def __init__(self, config: Path, folder: Path, changes: Sequence[str]) -> None:
        self.file, self.folder, self.changes = config.resolve(), folder.resolve(), list(changes)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chdir(self.folder)
        self.config = load_config(self.file, self.changes)
        self.chain = Chain(self.config)
        self.costs = self.folder / "costs.json"

    def step(self, name: str, output: str | Path, *words: str | Path) -> Path:
        """Run a command unless its output is there; keep its CPU seconds, those of interrupted tries left out."""
        if not Path(output).exists():
            print(f"{name} ...", file=sys.stderr, flush=True)
            before = children()
            environment = os.environ | {"PATH": f"{D3.parent}{os.pathsep}{os.environ['PATH']}"}
            subprocess.run([str(word) for word in words], check=True, env=environment)
            costs = json.loads(self.costs.read_text()) if self.costs.exists() else {}
            costs[name] = round(costs.get(name, 0) + children() - before, 1)
            self.costs.write_text(json.dumps(costs, indent=1) + "\n")
        return Path(output)

    def settings(self, variant: Variant) -> list[str]:
        """Return the options of a stage that set its configuration."""
        changes = [*self.changes, *variant.changes]
        return ["--config", str(self.file), *(word for change in changes for word in ("--set", change))]

    def data(self) -> tuple[list[Path], list[Path], Path]:
        """Make the rows, the examples of fine-tuning and the base model with the workflow; return their files."""
        rows = [Path(self.chain.folder("dataset")) / "data" / f"{shard}.parquet" for shard in self.chain.shards]
        examples = [Path(self.chain.folder("sft_data")) / f"{shard}.parquet" for shard in self.chain.shards]
        model = Path(self.chain.model_path("embedded", None))
        wanted = [*rows, *examples, model]
        if not all(path.exists() for path in wanted):
            command = [sys.executable, "-P", "-m", "d3", "run", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
            command += ["--configfile", str(self.file), "--cores", "1", "--quiet", "all", "--"]
            self.step("data", examples[-1], *command, *wanted)
        return rows, examples, model

    def train(self, variant: Variant, rows: Sequence[Path], model: Path) -> Path:
        """Tokenize the rows, mid-train, and return the model's folder; its metrics are beside it."""
        home, settings = Path(variant.name), self.settings(variant)
        shards = [
            self.step(f"tokens {variant.name}", out, D3, "tokens", *settings, "--dataset", path, "--tokenizer", model,
                      "--out", out)
            for path in rows
            for out in [home / f"{path.stem}.npy"]
        ]  # fmt: skip
        out = home / "midtrain"
        return self.step(
            f"midtrain {variant.name}", out, D3, "midtrain", *settings, "--tokens", *shards, "--model", model,
            "--work", home / "work-midtrain", "--metrics", home / "metrics.jsonl", "--out", out,
        )  # fmt: skip

    def tune(self, variant: Variant, arm: str, examples: Sequence[Path], model: Path) -> Path:
        """Fine-tune an arm and return the model's folder."""
        home = Path(variant.name)
        kind = self.config.arms[arm]
        base = home / "midtrain" if kind.midtrain else model
        more: list[str | Path] = ["--same-tokens", home / "midtrain"] if kind.same_tokens else []
        return self.step(
            f"sft {arm} {variant.name}", home / arm, D3, "sft", *self.settings(variant), "--examples", *examples,
            "--model", base, *more, "--work", home / f"work-{arm}", "--out", home / arm,
        )  # fmt: skip

    def answers(self, name: str, folder: Path, prompts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Let a model continue the programs; return what became of each answer."""
        out = self.folder / "answers" / f"{name}.json"
        self.step(
            f"answers {name}", out, sys.executable, "-P", __file__, "--config", self.file, "--folder", self.folder,
            "--answers", out, "--model", folder, *(word for change in self.changes for word in ("--set", change)),
            "--prompts", str(len(prompts)),
        )  # fmt: skip
        found: list[dict[str, Any]] = json.loads(out.read_text())
        return found


def children() -> float:
    """Return the CPU seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def held_out_prompts(config: Config, rows: Sequence[Path], count: int) -> list[dict[str, Any]]:
    """Return held-out rows that begin with a program, chosen by their texts."""
    columns = select(DATASET, "prompt", "program_start", "source_program_id")
    found = [
        row
        for path in rows
        for row in read_rows(path, columns)
        if row["program_start"] and is_held_out(row["source_program_id"], config.tokens.held_out)
    ]
    found.sort(key=lambda row: derive_seed(config.seed, "held-out-prompt", row["prompt"]))
    room = config.generate.engine.max_length - config.generate.max_tokens
    return [row for row in found if len(row["prompt"]) < 2 * room][:count]  # a token has two characters or more


def answer(config: Config, prompts: Sequence[dict[str, Any]], model: Path, out: Path) -> None:
    """Write what a model answers to prompts, and whether it applies."""
    from d3.llm.ask import Question, ask_all
    from d3.llm.engine import Request
    from d3.llm.open_engine import open_engine

    added = [DIFF] if f'"{DIFF}"' in (model / "tokenizer.json").read_text(encoding="utf-8") else None
    tokens, settings = ExampleTokens.of_model(model, added), config.generate
    questions = [
        Question(
            row=row,
            request=Request(
                key=str(number),
                ids=tuple(tokens.prompt(row["prompt"])),
                max_tokens=settings.max_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=derive_seed(config.seed, "held-out-answer", number),
                stop=STOP,
            ),
        )
        for number, row in enumerate(prompts)
    ]
    found = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with Journal(out.with_suffix("")) as journal:
        engine = open_engine(settings.engine, str(model))
        for outcome in ask_all(engine, questions, journal, what="answers", total=len(questions), empty_again=False):
            if outcome.answer is None:
                raise SystemExit(f"{outcome.status}: {outcome.detail}")
            built = build(outcome.row["program_start"], outcome.answer.text, outcome.answer.finish_reason)
            found.append(
                {
                    "status": built.status,
                    "detail": built.detail,
                    "diffs": len(read_answer(outcome.answer.text).diffs),
                    "tokens": outcome.answer.answer_tokens,
                    "text": outcome.answer.text,
                }
            )
    part = out.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.rename(out)


def curve(path: Path) -> Iterator[tuple[int, float]]:
    """Yield tokens trained on and held-out loss from the metrics of a training."""
    tokens = 0
    for text in path.read_text().splitlines():
        line = json.loads(text)
        tokens += line.get("tokens", 0)
        if line.get("held_out_loss") is not None:
            yield tokens, line["held_out_loss"]


def characters_a_token(shards: Sequence[Path], rows: Sequence[Path]) -> float:
    """Return the characters of the rows divided by their tokens."""
    tokens: int = sum(json.loads(path.with_suffix(".json").read_text())["tokens"] for path in shards)
    column = select(DATASET, "completion")
    characters: int = sum(len(row["completion"]) for path in rows for row in read_rows(path, column))
    return characters / tokens


def main() -> None:
    """Do what is missing, then print the tables; with --answers, do that step alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "benchmarks" / "learning.yaml")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "learning")
    parser.add_argument("--prompts", type=int, default=44, help="held-out rows with a start program")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    run = Run(options.config, options.folder, options.set)
    rows, examples, model = run.data()
    prompts = held_out_prompts(run.config, rows, options.prompts)
    if options.answers:
        answer(run.config, prompts, options.model, options.answers)
        return
    if not options.table:
        for variant in VARIANTS:
            run.train(variant, rows, model)
        for variant in VARIANTS:
            for arm in variant.arms:
                run.answers(f"{variant.name}-{arm}", run.tune(variant, arm, examples, model), prompts)
    table(run, rows)


def table(run: Run, rows: Sequence[Path]) -> None:
    """Print the tables of what is there."""
    print("mid-training    tokens trained on: loss of held-out rows in nats a token (nats a character)")
    for variant in VARIANTS:
        home = Path(variant.name)
        if (home / "metrics.jsonl").exists():
            length = characters_a_token([home / f"{path.stem}.npy" for path in rows], rows)
            points = [
                f"{tokens:,}: {loss:.3f} ({loss / length:.4f})"
                for tokens, loss in dict(curve(home / "metrics.jsonl")).items()
            ]
            print(f"{variant.name:<14}  {'   '.join(points)}")
    print(
        "\narm                 trained on  apply         95 % interval     more than one diff  cut off  answer tokens"
    )
    verdicts: dict[str, dict[int, bool]] = {}
    for variant in VARIANTS:
        for arm in variant.arms:
            name = f"{variant.name}-{arm}"
            if not (path := run.folder / "answers" / f"{name}.json").exists():
                continue
            found = json.loads(path.read_text())
            verdicts[name] = {n: row["status"] == "ok" and row["diffs"] > 0 for n, row in enumerate(found)}
            applied = share(list(verdicts[name].values()))
            folders = [variant.name + "/midtrain"] * run.config.arms[arm].midtrain + [f"{variant.name}/{arm}"]
            tokens = sum(json.loads((Path(folder) / "training.json").read_text())["tokens"] for folder in folders)
            more = sum(row["diffs"] > 1 for row in found)
            cut = sum((row["detail"] or "").startswith("cut off") for row in found)
            print(
                f"{name:<18}  {tokens:>10,}  {applied['applied']:>2} of {applied['samples']:>2}  "
                f"{applied['value']:>6.1%}  {applied['low']:>6.1%} to {applied['high']:>6.1%}  {more:>18}  {cut:>7}  "
                f"{sum(row['tokens'] for row in found):>13,}"
            )
    print()
    for one, other in combinations(verdicts, 2):
        found = paired(one, other, verdicts[one], verdicts[other])
        print(f"{other} against {one}: {found['better']} better, {found['worse']} worse, p = {found['p_value']:.4f}")
    costs = json.loads(run.costs.read_text()) if run.costs.exists() else {}
    print("\nCPU seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in costs.items()))
    print(f"in all {sum(costs.values()) / 60:.1f} CPU-minutes")


if __name__ == "__main__":
    main()
