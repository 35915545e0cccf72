"""What of a configuration decides a result, in one spelling: for folder keys, journal keys and statements.

A setting at its neutral value (`Neutral`; null everywhere) is left out, so that a new optional setting
moves no folder and empties no journal. Also left out is what decides no row (how a server is reached),
and the names of prompt templates, whose digests stand beside the settings. Paths of models and
benchmarks are written in one way, however the user spells them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from d3.config.fields import Decides, Neutral, Section
from d3.config.models import Config
from d3.core.ids import canonical_path


def deciding(values: Mapping[str, Any], section: type[BaseModel] = Config) -> dict[str, Any]:
    """Return what decides of some values of a section, given as JSON; keys that it does not have stay.

    Applying it twice changes nothing.
    """
    kept: dict[str, Any] = {}
    for name, value in values.items():
        field = section.model_fields.get(name)
        if field is None:
            kept[name] = value
            continue
        decides = next((mark.by for mark in field.metadata if isinstance(mark, Decides)), "value")
        if value is None or decides in ("nothing", "content") or Neutral(value) in field.metadata:
            continue
        if decides == "path":
            kept[name] = canonical_path(value) if Path(value).exists() else value
        elif isinstance(value, Mapping):
            inner = _inner(field)
            if inner is None:
                found = dict(value)
            elif get_origin(field.annotation) is dict:  # names of the user's own, such as those of arms
                found = {key: deciding(item, inner) for key, item in value.items()}
            else:
                found = deciding(value, inner)
            if found:
                kept[name] = found
        else:
            kept[name] = value
    return kept


def deciding_part(section: Section, *without: str) -> dict[str, Any]:
    """Return what decides of one section, without some of its settings, as JSON."""
    return deciding(section.model_dump(mode="json", exclude=set(without)), type(section))


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a section, or of the values of a mapping; None for a mapping of plain values."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
