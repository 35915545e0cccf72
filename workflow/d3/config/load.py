"""Reading a configuration: a wrong key, type or range becomes one line that names the key's path."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from d3.config.models import Config
from d3.errors import ConfigError, raise_system_error

OWN_SOURCE = "own-files"
"""Name of a dataset of the user's own shards that was given none."""


def parse_config(values: Any, where: str = "config") -> Config:
    """Check a nested dict; raises ConfigError with the key's path, what was given and what is allowed."""
    if not isinstance(values, dict):
        raise ConfigError("must be a mapping of sections", where=where, remedy="config/README.md lists them")
    config = _validated(with_own_inputs(values), where)
    if fault := _adoption_fault(config):
        raise ConfigError(fault, where=where, remedy="config/README.md lists every key")
    return config


def _adoption_fault(config: Config) -> str:
    """Return what is wrong with modes and adopted tables together; a job's settings may hold one without the other."""
    for kind in ("grades", "labels"):
        mode, table = getattr(config, kind).mode, getattr(config.adopt, kind)
        if table is not None and config.adopt.dataset is not None:
            return f"adopt.{kind} decides nothing beside adopt.dataset; remove one of them"
        if (mode == "adopted") != (table is not None):
            wanted = "remove the mode" if table else f"name the table in adopt.{kind}"
            return f"{kind}.mode is {mode}, but adopt.{kind} is {'set' if table else 'null'}; {wanted}"
    return ""


def with_own_inputs(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with what follows from its own inputs where that is not set itself.

    The tokenizer is that of the model. Own shards have a name of their own, not that of the embedded ones. What is
    adopted is not asked for.
    """
    model, tokens, source = (values.get(name, {}) for name in ("model", "tokens", "source"))
    if not all(isinstance(section, dict) for section in (model, tokens, source)):
        return values
    filled = dict(values)
    if "path" in model and not {"tokenizer", "revision"} & set(tokens):
        filled["tokens"] = {**tokens, "tokenizer": model["path"], "revision": model.get("revision")}
    if source.get("shards") and "name" not in source:
        filled["source"] = {**source, "name": OWN_SOURCE}
    adopt = values.get("adopt", {})
    for kind in ("grades", "labels"):
        stage = values.get(kind, {})
        if isinstance(adopt, dict) and isinstance(stage, dict) and "mode" not in stage:
            mode = "adopted" if adopt.get(kind) else "none" if adopt.get("dataset") else None
            filled |= {kind: {**stage, "mode": mode}} if mode else {}
    return filled


def _validated(values: Any, where: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error), where=where, remedy="config/README.md lists every key") from None


def explain(error: ValidationError) -> str:
    """Write every fault of a configuration as `path: given X, allowed Y`."""
    faults = []
    for fault in error.errors():
        path = ".".join(str(part) for part in fault["loc"]) or "the whole"
        if fault["type"] == "extra_forbidden":
            known = _siblings(fault["loc"])
            near = get_close_matches(str(fault["loc"][-1]), known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"{path}: no such key, allowed are {', '.join(known)}{meant}")
        elif fault["type"] == "value_error":
            faults.append(f"{path}: {fault['ctx']['error']}")
        elif fault["type"] == "missing":
            faults.append(f"{path}: is missing")
        else:
            message = fault["msg"].removeprefix("Input should be ")
            given = repr(fault["input"])
            faults.append(f"{path}: given {given if len(given) < 80 else given[:80] + '...'}, allowed is {message}")
    return "; ".join(faults)


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed where a foreign key was found."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        if field is None:  # a name of the user's own in a mapping such as `arms`
            continue
        kind = field.annotation
        for inner in getattr(kind, "__args__", (kind,)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                section = inner
    return sorted(section.model_fields)


def load_config(path: Path | None, overrides: list[str] | None = None) -> Config:
    """Read a YAML file and `section.key=value` overrides; no file means the defaults.

    Defaults count as set in what comes out: they are part of what a job of this configuration records.
    Raises ConfigError for a file that is missing or no YAML, and for every wrong key or value.
    """
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            if not isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
                raise_system_error(error, path)
            remedy = "give --config an existing file"
            raise ConfigError(f"cannot be read ({error.strerror})", where=str(path), remedy=remedy) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"not YAML ({error})", where=str(path), remedy="fix or remove the line") from None
    where = str(path) if path else "--set"
    values = {} if values is None else values
    if isinstance(values, dict):
        for override in overrides or []:
            _apply_override(values, override)
    return Config.model_validate(parse_config(values, where).model_dump(mode="json"))


def read_settings(path: Path) -> Config:
    """Read the settings file that the workflow wrote for a job; only what stands in it counts as set.

    Raise ConfigError for a file that is missing or damaged.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise_system_error(error, path)
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(path), remedy="run the workflow") from None
    except ValueError as error:
        remedy = "remove it and run the workflow, which writes it again"
        raise ConfigError(f"not JSON ({error})", where=str(path), remedy=remedy) from None
    return _validated(values, str(path))


def _apply_override(values: Any, override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"{override!r} is no KEY=VALUE", where="--set", remedy="write section.key=value")
    *sections, key = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(
                f"{name}: {section} holds a value, not keys", where="--set", remedy="see config/README.md"
            )
    try:
        values[key] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"{name}: {text!r} is no YAML", where="--set", remedy="quote the value") from None
