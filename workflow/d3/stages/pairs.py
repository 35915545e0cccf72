"""Pairs for supervised fine-tuning: docstring -> function, from files held out of mid-training.

The paper's set is not public ("task-curated data" [abstract]); this one is our default for runs
without another. A function qualifies if it stands alone: what it uses is its own, a builtin, or an
import of its file, which is then put before it.
"""

import ast
import builtins
import re
import symtable
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from d3.config.data import Pairs
from d3.config.models import Config
from d3.core import schemas
from d3.core.example_format import example_completion, example_prompt
from d3.core.ids import content_id, normalise, unit_interval
from d3.core.progress import track
from d3.core.tables import Row, count_rows
from d3.core.unified_diff import apply_diffs
from d3.errors import InputError
from d3.pipeline.checks import Faults, FinishedJob, read_columns, rows_by_key, select
from d3.pipeline.job import Job
from d3.stages.duplicates import ids_elsewhere
from d3.stages.label_metrics import VERBS, verb_first

MARKUP = (
    (re.compile(r":[a-z][a-z:+-]*:`[~!]?(?:[^`<]*<)?([^`<>]*)>?`"), r"\1"),  # roles: :func:`os.path`
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)"), r"\1"),  # links of Markdown
    (re.compile(r"`([^`<]*?)\s*<[^`>]*>`_+"), r"\1"),  # links of reStructuredText
    (re.compile(r"`+([^`]*)`+_*"), r"\1"),  # code
    (re.compile(r"(?<![\w*])(\*\*?)(?=\S)([^*]+?)(?<=\S)\1(?![\w*])"), r"\2"),  # emphasis; not *args
    (re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*>"), ""),  # tags
)
"""Markup in docstrings, and what is kept of it."""
BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}


def run(config: Config, corpus: Path, out: Path, *, duplicates: Path | None = None) -> None:
    """Extract docstring -> function pairs from the held-out files of a corpus shard.

    Write `schemas.PAIRS`, ordered by id.
    The sample is one of every source shard, so that it stays when shards are batched another way. Of
    equal functions the one out of the file with the smallest id stays. `duplicates` lists files that go on
    in another batch.

    Example: d3 pairs --corpus kept.parquet --out pairs.parquet
    """
    settings = config.pairs
    with Job("pairs", config=config) as job:
        table = job.table(out, schemas.PAIRS)
        elsewhere = ids_elsewhere(job, duplicates)
        found: dict[str, dict[str, Row]] = {}
        for row in track(job.rows(corpus, schemas.CORPUS), f"pairs {corpus.name}", count_rows(corpus), "files"):
            if row["split"] != "sft":
                job.drop("not_held_out")
                continue
            if row["id"] in elsewhere:
                job.drop(elsewhere[row["id"]])
                continue
            pairs = list(pairs_of(row["text"], row["id"], settings))
            shard = found.setdefault(row["shard"], {})
            for pair in pairs:
                shard[pair["id"]] = _smaller(pair, shard.get(pair["id"]))
            if pairs:
                job.keep()
            else:
                job.drop("no_function_stands_alone")
        chosen: dict[str, Row] = {}
        for shard in found.values():
            ranked = sorted(shard, key=lambda identifier: unit_interval(config.seed, "pair", identifier))
            for identifier in ranked[: settings.sample]:
                chosen[identifier] = _smaller(shard[identifier], chosen.get(identifier))
        for identifier in sorted(chosen):
            table.write(chosen[identifier])
        functions = len({identifier for shard in found.values() for identifier in shard})
        print(f"pairs {corpus.name}: {len(chosen)} of {functions} functions are in the sample", file=sys.stderr)


def _smaller(pair: Row, known: Row | None) -> Row:
    """Return which of two pairs with the same id stays; inside a file that is the first one."""
    return pair if known is None or pair["file_id"] < known["file_id"] else known


def pairs_of(text: str, identifier: str, settings: Pairs) -> Iterator[Row]:
    """Yield a `schemas.PAIRS` row for every function that qualifies, if the program compiles."""
    if not compiles(text):
        return
    tree = ast.parse(text)
    lines = text.split("\n")
    imports: dict[str, set[int]] = {}
    for at, node in enumerate(tree.body):
        for name in imported_names(node):
            imports.setdefault(name, set()).add(at)
    top = symtable.symtable(text, "program", "exec")
    tables = {table.get_lineno(): table for table in top.get_children()}
    own = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    own |= {symbol.get_name() for symbol in top.get_symbols() if symbol.is_imported()} - set(imports)
    known = (BUILTINS | set(imports)) - own
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        instruction = instruction_of(ast.get_docstring(node), settings.min_words)
        if instruction is not None and settings.instructions == "imperative":
            instruction = imperative(instruction, settings.min_words)
        body = without_docstring(node, lines)
        used = outside_names(node, tables)
        if instruction is None or body is None or not used <= known | {node.name}:
            continue
        needed = sorted({at for name in used & set(imports) for at in imports[name]})
        heads = [ast.unparse(tree.body[at]) for at in needed]
        program = normalise("\n".join([*heads, "", "", *body] if heads else body))
        if program.count("\n") < settings.max_lines and compiles(program):
            yield {
                "id": content_id(program),
                "text": program,
                "instruction": instruction,
                "name": node.name,
                "file_id": identifier,
            }


def compiles(program: str) -> bool:
    """Return whether Python compiles a program: the parser alone lets `def f(a, a)` and `break` anywhere pass."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(program, "program", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def imported_names(node: ast.stmt) -> list[str]:
    """Return the names that a top-level import binds; star imports bind none that can be known."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [alias.asname or alias.name for alias in node.names if alias.name != "*"]
    return []


def outside_names(node: ast.FunctionDef, tables: dict[int, symtable.SymbolTable]) -> set[str]:
    """Return the global names that a function uses, in itself, its decorators, defaults and inner scopes."""
    names = {name.id for part in surroundings(node) for name in ast.walk(part) if isinstance(name, ast.Name)}
    first = min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]])
    waiting = [tables[line] for line in {first, node.lineno} if line in tables]
    while waiting:
        table = waiting.pop()
        names |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        waiting += table.get_children()
    return names


def surroundings(node: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield the parts of a function that are evaluated outside its own scope."""
    yield from node.decorator_list
    yield from [default for default in [*node.args.defaults, *node.args.kw_defaults] if default is not None]
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            yield argument.annotation
    if node.returns is not None:
        yield node.returns


def without_docstring(node: ast.FunctionDef, lines: list[str]) -> list[str] | None:
    """Return a function's lines without its docstring, or None if nothing else would be left."""
    doc = node.body[0]
    first = min([node.lineno, *[decorator.lineno for decorator in node.decorator_list]])
    if len(node.body) < 2 or doc.end_lineno is None or node.body[1].lineno <= doc.end_lineno:
        return None
    if lines[doc.lineno - 1][: doc.col_offset].strip():
        return None
    return lines[first - 1 : doc.lineno - 1] + lines[doc.end_lineno : node.end_lineno]


def instruction_of(docstring: str | None, min_words: int) -> str | None:
    """Return the first paragraph of a docstring on one line.

    None if it says too little or holds what cannot be printed, such as half a character.
    """
    paragraph = (docstring or "").strip().split("\n\n")[0]
    words = paragraph.split()
    sentence = " ".join(words)
    return sentence if len(words) >= min_words and sentence.isprintable() else None


def imperative(paragraph: str, min_words: int) -> str | None:
    """Return a docstring's paragraph as a command, None if it is none or says too little without its markup.

    Markup of reStructuredText and Markdown goes, the names in it stay. A first word in the third person becomes the
    base form. What introduces something that is not part of the paragraph loses its colon.
    """
    text = paragraph
    for pattern, kept in MARKUP:
        text = pattern.sub(kept, text)
    text = " ".join(text.split()).rstrip(": ")
    first, _, rest = text.partition(" ")
    if not verb_first(text) and (base := _base_form(first.lower())) is not None:
        text = f"{base} {rest}"
    if len(text.split()) < min_words or not verb_first(text) or ">>>" in text:
        return None
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _base_form(word: str) -> str | None:
    """Return the base form of a verb in the third person, None for other words."""
    forms = [word.removesuffix("s")] if word.endswith("s") else []
    forms += [word.removesuffix("es")] if word.endswith("es") else []
    forms += [word.removesuffix("ies") + "y"] if word.endswith("ies") else []
    return next((form for form in forms if form in VERBS), None)


def sft_data(config: Config, pairs: Path, diffs: Path, out: Path) -> None:
    """Turn pairs and their diffs into examples for supervised fine-tuning.

    Write `schemas.SFT`: each pair's sequence of diffs, from the empty program, is one example. Raise
    InputError if a sequence does not lead to its function.

    Example: d3 sft-data --pairs pairs.parquet --diffs pair_diffs.parquet --out examples.parquet
    """
    with Job("sft_data", config=config) as job:
        table = job.table(out, schemas.SFT)
        by_id = {row["id"]: row for row in job.side_rows(pairs, schemas.PAIRS)}
        for row in job.rows(diffs, schemas.DIFFS):
            if row["status"] != "ok":
                job.drop(row["status"])
                continue
            pair = by_id.get(row["id"])
            if pair is None:
                raise InputError(f"{row['id']} is not in {pairs}", where=str(diffs), remedy="give tables of one shard")
            if apply_diffs("", row["diffs"]) != pair["text"]:
                reason = f"the diffs of {row['id']} do not give its text"
                raise InputError(reason, where=str(diffs), remedy="make the diffs again")
            prompt = example_prompt(f"{pair['name']}_solution.py", "", pair["instruction"])
            completion = example_completion(prompt, row["diffs"])
            table.write({"id": row["id"], "sample": row["sample"], "prompt": prompt, "completion": completion})
            job.keep()


def check_pairs(job: FinishedJob) -> Faults:
    """Check the ids of pairs, and that the files that they come from are held out."""
    files = read_columns(job.inputs_of("corpus"), schemas.CORPUS, "id", "split")
    held_out = {row["id"] for row in files if row["split"] == "sft"}
    for row in read_columns([job.path()], schemas.PAIRS, "id", "text", "file_id"):
        if content_id(row["text"]) != row["id"]:
            yield job.name(), f"the text of {row['id'][:16]} is not the one that its id is the hash of"
        if row["file_id"] not in held_out:
            yield job.name(), f"{row['id'][:16]} comes from {row['file_id'][:16]}, which is no held-out file"


def check_sft_data(job: FinishedJob) -> Faults:
    """Make a sample of the examples again from their pairs and diffs."""
    rows = job.sample_rows(job.path(), schemas.SFT)
    wanted = {(row["id"], row["sample"]) for row in rows}
    sequences = select(schemas.DIFFS, "id", "sample", "diffs")
    diffs = rows_by_key(job.inputs_of("pair_diffs"), sequences, wanted, "id", "sample")
    pairs = rows_by_key(job.inputs_of("pairs"), schemas.PAIRS, {row["id"] for row in rows}, "id")
    for row in rows:
        pair, steps = pairs[row["id"]], diffs[row["id"], row["sample"]]["diffs"]
        prompt = example_prompt(f"{pair['name']}_solution.py", "", pair["instruction"])
        if (row["prompt"], row["completion"]) != (prompt, example_completion(prompt, steps)):
            yield job.name(), f"{row['id'][:16]}#{row['sample']} is not what its pair and diffs build"
