"""Prompts as token ids, in which source code stays text.

A prompt is a Jinja template that holds the fixed words and shows code variables. Template and chat
template are rendered with a placeholder for each variable, cut at the placeholders, and tokenized
piece by piece: special tokens are recognised in the fixed pieces and only there. So nothing that a
source file holds (control tokens, template syntax, placeholders, ends of a section) changes the
structure of the prompt. Tokens never span a cut, which no model minds.

A template may set `system` (a system message), `answer` (how the model's answer begins) and, for
grades, `score` (what stands before the score), each with `{% set NAME %}...{% endset %}`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from d3.config.models import PROMPTS, prompt_path
from d3.core.example_tokens import PlainText
from d3.errors import ConfigError

PLACEHOLDER = re.compile("\ue000(\\w+)\ue001")
CHAT_CONSTANTS = {"date_string": "26 Jul 2024", "enable_thinking": False}
"""What chat templates would otherwise make up: Llama's put in today's date, so that no journal entry
would be found again tomorrow; Qwen's ask for a chain of thought that no short answer has room for."""


def find_template(name: str) -> Path:
    """Return the file of a template: a path that exists, else one in `config/prompts`; raises ConfigError."""
    path = prompt_path(name)
    if not path.is_file():
        raise ConfigError("no such prompt template", where=name, remedy=f"give a path, or a name in {PROMPTS}")
    return path


class Encoder:
    """Encodes text of others, in which no control token is recognized."""

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text."""
        raise NotImplementedError

    def cut_at_line(self, text: str, tokens: int) -> str:
        """Return the longest beginning of whole lines that takes at most `tokens` tokens; may be empty."""
        lines = text.split("\n")
        low, high = 0, len(lines)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self.ids("\n".join(lines[:middle]))) <= tokens:
                low = middle
            else:
                high = middle - 1
        return "\n".join(lines[:low])


class PlainEncoder(PlainText, Encoder):
    """Encodes text with a loaded tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Copy the tokenizer's backend; raise ConfigError when it has none."""
        super().__init__(backend_settings(tokenizer))


def backend_settings(tokenizer: Any) -> dict[str, Any]:
    """Return what `tokenizer.json` of a loaded tokenizer would hold; raise ConfigError when it has no such form."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(
            "the tokenizer has no tokenizer.json form, so code cannot be kept apart from control tokens",
            remedy="convert the model's tokenizer",
        )
    settings: dict[str, Any] = json.loads(backend.to_str())
    return settings


def encoder_of(tokenizer: Any) -> Encoder:
    """Return the tokenizer's plain encoder, made once."""
    encoder: Encoder | None = getattr(tokenizer, "_d3_plain", None)
    if encoder is None:
        encoder = tokenizer._d3_plain = PlainEncoder(tokenizer)
    return encoder


@dataclass(kw_only=True, slots=True, frozen=True)
class Rendered:
    """A prompt with its code in it."""

    ids: tuple[int, ...]
    """The whole prompt."""
    shared: int
    """How many first ids hold no code, so that other prompts begin with them too."""
    begun: str
    """How the answer was begun for the model."""
    truncated: bool = False
    """Whether a text was cut to fit."""


@dataclass(kw_only=True, slots=True, frozen=True)
class _Frame:
    """A prompt before its code is put in: fixed ids, and names of variables."""

    pieces: tuple[list[int] | str, ...]
    begun: str


class Prompt:
    """A template in a model's own words: turns code variables into token ids."""

    def __init__(self, path: Path, tokenizer: Any, variables: tuple[str, ...], *, begin: bool = True) -> None:
        """Read the template, which may show `variables`; raises ConfigError when it or the model's
        chat template is no use. Without `begin` what it sets as `answer` is not read, nor where the
        engine cannot continue an answer.
        """
        import jinja2
        import jinja2.sandbox

        self.path, self.tokenizer, self.variables = path, tokenizer, variables
        self.encoder, self.begin = encoder_of(tokenizer), begin and getattr(tokenizer, "begins_answers", True)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        try:
            self._template = environment.from_string(path.read_text(encoding="utf-8"))
        except (jinja2.TemplateError, UnicodeDecodeError) as error:
            raise ConfigError(f"not a Jinja template ({error})", where=str(path), remedy="mend it") from None
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError("the model has no chat template", remedy="take an instruction-tuned model")
        self._frames: dict[frozenset[str], _Frame] = {}

    def render(self, texts: Mapping[str, str]) -> Rendered:
        """Return the prompt for some code variables.

        Raises ConfigError when the template shows none of the variables, or changes one.
        """
        ids: list[int] = []
        shared = 0
        frame = self._frame(texts)
        for piece in frame.pieces:
            if isinstance(piece, str):
                ids += self.encoder.ids(texts[piece])
            else:
                shared = shared or len(piece)
                ids += piece
        return Rendered(ids=tuple(ids), shared=min(shared, len(ids) - 1), begun=frame.begun)

    def render_within(self, texts: Mapping[str, str], room: int) -> Rendered | None:
        """Like `render`, with the longest texts cut at a line end so that all takes at most `room` ids.

        None if nothing of a text would be left.
        """
        whole = self.render(texts)
        if len(whole.ids) <= room:
            return whole
        shown = [piece for piece in self._frame(texts).pieces if isinstance(piece, str)]
        lengths = {name: len(self.encoder.ids(texts[name])) for name in set(shown)}
        free = room - (len(whole.ids) - sum(lengths[name] for name in shown))
        if not lengths:
            return None
        cap = max(lengths.values())
        while cap > 0 and sum(min(lengths[name], cap) for name in shown) > free:
            cap -= 1
        cut = dict(texts)
        for name in lengths:
            if lengths[name] > cap:
                cut[name] = self.encoder.cut_at_line(texts[name], cap)
                if not cut[name]:
                    return None
        return replace(self.render(cut), truncated=True)

    def setting(self, name: str) -> str | None:
        """Return what the template sets `name` to, stripped at its ends, or None."""
        value = getattr(self._module(frozenset(self.variables)), name, None)
        return None if value is None else str(value).strip()

    def _module(self, filled: frozenset[str]) -> Any:
        """Render the template with a placeholder for each variable that is not empty."""
        import jinja2

        values = {name: f"\ue000{name}\ue001" if name in filled else "" for name in self.variables}
        try:
            return self._template.make_module(values)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the template does not render ({error})",
                where=str(self.path),
                remedy=f"its variables are {', '.join(self.variables)}",
            ) from None

    def _frame(self, texts: Mapping[str, str]) -> _Frame:
        """Return the frame for texts of which these are not empty."""
        filled = frozenset(name for name, text in texts.items() if text)
        if filled not in self._frames:
            self._frames[filled] = self._render(filled)
        return self._frames[filled]

    def _render(self, filled: frozenset[str]) -> _Frame:
        module = self._module(filled)
        messages = [{"role": "user", "content": str(module).strip()}]
        system = getattr(module, "system", None)
        if system is not None:
            messages.insert(0, {"role": "system", "content": str(system).strip()})
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **CHAT_CONSTANTS
        )
        begun = str(getattr(module, "answer", "")).strip() if self.begin else ""
        text += begun
        pieces: list[list[int] | str] = []
        for number, piece in enumerate(PLACEHOLDER.split(text)):
            if number % 2 and piece in filled:
                pieces.append(piece)
            elif number % 2 or "\ue000" in piece or "\ue001" in piece:
                raise ConfigError("changes a code variable", where=str(self.path), remedy="show it as it is")
            elif piece:
                pieces.append(list(self.tokenizer.encode(piece, add_special_tokens=False)))
        shown = {piece for piece in pieces if isinstance(piece, str)}
        if not shown and filled:
            raise ConfigError(
                "shows no code", where=str(self.path), remedy=f"its variables are {', '.join(self.variables)}"
            )
        return _Frame(pieces=tuple(pieces), begun=begun)


def join_choices(tokenizer: Any, lead: str, choices: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the ids of `lead` and the choices after it, cut where the tokenizer itself cuts.

    A model expects `: 4` either as `:` + ` 4` or as `: ` + `4`; asked for the other, its
    probabilities mean little.
    """
    for start, space in ((f"{lead} ", ""), (lead, " ")):
        ids = tokenizer.encode(start, add_special_tokens=False)
        whole = [tokenizer.encode(f"{start}{space}{choice}", add_special_tokens=False) for choice in choices]
        ends = [tokenizer.encode(f"{space}{choice}", add_special_tokens=False) for choice in choices]
        if all(one == ids + end for one, end in zip(whole, ends, strict=True)):
            break
    return tuple(ids), tuple(f"{space}{choice}" for choice in choices)
