"""What makes a run smaller than full size: the difference between its configuration and the defaults."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from d3.config.fields import Limits, Section
from d3.config.models import Config

UNUSED = ("topics", "generate.engine.model")
"""Settings that limit nothing in a run: `topics` is a target of its own, `generate` takes the trained models."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """A setting that makes a run smaller than full size."""

    key: str
    """Path of the setting, such as `corpus.sample`."""
    value: Any
    """Its value in the run, as JSON."""
    full: Any
    """Its value at full size, as JSON; null leaves nothing out. For a stand-in it is the stand-in itself."""
    stand_in: bool = False
    """Whether something small that comes with the pipeline is used in place of the user's own."""

    def __str__(self) -> str:
        """Return the limit as one phrase."""
        if self.stand_in:
            return f"{self.key} is {self.value}"
        return f"{self.key} is {_written(self.value)} (full size: {_written(self.full)})"


def limits_in_effect(config: Config) -> list[Limit]:
    """Return every setting that limits a run, in the order of the configuration; an empty list at full size.

    A section that no model answers in (`grades` or `labels` in another mode than `model`) has no engine to
    limit. Whether a benchmark has more tasks than `tasks` is only known when it was read.
    """
    skipped = (*UNUSED, *(f"{name}.{part}" for name in ("grades", "labels") for part in ("engine", "sampling")
                          if getattr(config, name).mode != "model"),
               *(f"{name}.engine.model" for name in ("grades", "labels")
                 if not getattr(config, name).engine.reads_model))  # fmt: skip
    return [
        limit
        for limit in _limits(config, Config())
        if not any(limit.key == name or limit.key.startswith(f"{name}.") for name in skipped)
    ]


def limit_fields(section: Section, path: str = "") -> Iterator[tuple[str, Limits, Any]]:
    """Yield path, mark and value of every setting that can limit a run, also in mappings such as `benchmarks`."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        for mark in field.metadata:
            if isinstance(mark, Limits):
                yield f"{path}{name}", mark, value
        inner = {name: value} if isinstance(value, Section) else {}
        if isinstance(value, dict):
            inner = {f"{name}.{key}": item for key, item in value.items() if isinstance(item, Section)}
        for key, item in inner.items():
            yield from limit_fields(item, f"{path}{key}.")


def _limits(config: Config, full: Config) -> Iterator[Limit]:
    defaults = {key: value for key, _, value in limit_fields(full)}
    for key, mark, value in limit_fields(config):
        if key in defaults:
            most = defaults[key]
        else:  # a benchmark, whose name is the user's
            most = type(next(iter(full.benchmarks.values()))).model_fields[key.rpartition(".")[2]].default
        if mark.by == "stand_in":
            if value == mark.value:
                yield Limit(key=key, value=value, full=mark.value, stand_in=True)
        elif _less(value, most) if mark.by == "maximum" else _less(most, value):
            yield Limit(key=key, value=value, full=most)


def _less(value: float | None, other: float | None) -> bool:
    """Return whether one bound is below another; null is no bound, above all numbers."""
    return value is not None and (other is None or value < other)


def _written(value: Any) -> str:
    return "no limit" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
