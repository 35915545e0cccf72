"""Opening the engine that a configuration names."""

from importlib import import_module

from d3.config.engine import Engine as EngineSettings
from d3.config.engine_kinds import ENGINE_KINDS
from d3.llm.engine import Engine


def open_engine(settings: EngineSettings, model: str) -> Engine:
    """Return the engine of `settings.kind` for `model`, a folder or a hub id.

    `settings.model` is not read: the caller has resolved it. `settings.revision` is used for a hub
    id. Weights are loaded with the first request, so a run whose answers are all in the journal never
    loads them. Raise EngineError if the engine cannot be opened.
    """
    kind = ENGINE_KINDS[settings.kind]
    engine: Engine = getattr(import_module(kind.module), kind.class_name)(settings, model)
    return engine
