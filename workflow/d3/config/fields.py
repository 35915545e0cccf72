"""What the sections of the configuration are made of: types with limits, and marks that say how a setting decides."""

import os.path
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_switch(value: Any) -> Any:
    """Reject booleans where a number is expected; Python treats them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"given {value}, allowed is a number")
    return value


def _one_spelling(value: int | float) -> int | float:
    """Return a whole number as int, so that 2 and 2.0 are one setting."""
    return int(value) if value == int(value) else value


@dataclass(frozen=True, slots=True)
class Neutral:
    """Marks a setting that changes nothing while it has this value; null is neutral everywhere.

    A setting at its neutral value is in no folder key, journal key or statement (`d3.config.identity`), so
    that a new optional setting makes nothing stale.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Decides:
    """Marks a setting that takes part in identities in a way of its own."""

    by: Literal["nothing", "content", "path"]
    """`nothing`: it decides no row; `content`: the digest of the file that it names decides;
    `path`: what it names decides, however the path to it is spelled."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Marks a setting that can make a run smaller than full size; full size is the default of `Config`.

    `d3.config.limits` compares a run with it, and the report shows every limit in effect.
    """

    by: Literal["maximum", "minimum", "stand_in"]
    """`maximum`: a lower value leaves something out; `minimum`: a higher one does; `stand_in`: `value` stands
    for something small that comes with the pipeline, such as its embedded model."""
    value: Any = None
    """The value of a stand-in."""


Value = TypeVar("Value")
Machine = Annotated[Value, Decides("nothing")]
"""A setting that belongs to the machine: it decides no row."""
Number = BeforeValidator(_no_switch)
Grade = Annotated[int | float, Field(ge=0, le=4), Number, AfterValidator(_one_spelling)]
Share = Annotated[float, Field(ge=0, le=1), Number]
Positive = Annotated[int, Field(gt=0), Number]
Count = Annotated[int, Field(ge=0), Number]
NotNegative = Annotated[float, Field(ge=0), Number]
PositiveFloat = Annotated[float, Field(gt=0), Number]
UserPath = Annotated[str, AfterValidator(os.path.expanduser)]
ModelName = Annotated[UserPath, Decides("path")]
Template = Annotated[UserPath, Decides("content")]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
ImportString = Annotated[str, Field(pattern=r"^[^:\s][^:]*:[A-Za-z_]\w*$")]
Address = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")]

SERVER_ACCESS = Decides("nothing")
"""How a server is reached: the same model may move to another machine."""
EMBEDDED = "embedded"
EMBEDDED_SOURCE = "python-standard-library"
MAXIMUM = Limits("maximum")
MINIMUM = Limits("minimum")
SMALL_MODEL = Limits("stand_in", EMBEDDED)


class Section(BaseModel):
    """Base of all sections: unknown keys are rejected, values are immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_other_defaults(cls, values: Any) -> Any:
        """Keep the defaults of the keys that a nested section does not set, where they differ from its class's."""
        if not isinstance(values, dict):
            return values
        filled = dict(values)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, Section) and isinstance(values.get(name), dict):
                filled[name] = _over(field.default.model_dump(mode="json", exclude_unset=True), values[name])
        return filled


def _over(defaults: dict[str, Any], values: dict[Any, Any]) -> dict[Any, Any]:
    """Return nested values with the defaults of the keys that are absent."""
    merged: dict[Any, Any] = {**defaults, **values}
    for name in defaults.keys() & values.keys():
        if isinstance(defaults[name], dict) and isinstance(values[name], dict):
            merged[name] = _over(defaults[name], values[name])
    return merged
