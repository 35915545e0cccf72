"""The engines: one module a kind, all on the base class in `base`; `d3.config.engine_kinds` lists them."""
