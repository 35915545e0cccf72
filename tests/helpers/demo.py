"""The demo's configuration: the small settings that most tests start from."""

from typing import Any

import yaml

from d3.config.load import load_config
from helpers.paths import ROOT

DEMO_FILE = ROOT / "config" / "demo.yaml"
DEMO = load_config(DEMO_FILE)
"""The demo as a checked configuration."""
OPTIONS = (
    ("tokens", "held_out"),
    ("midtrain", "held_out_steps"),
    ("labels", "trivial"),
    ("pairs", "instructions"),
)


def over_demo(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the demo's values for the keys that are absent; benchmarks keep their names.

    Its options that change which rows there are stay out: the runs of tests have too few.
    """
    demo = yaml.safe_load(DEMO_FILE.read_text())
    for section, key in OPTIONS:
        del demo[section][key]
    tasks = demo.pop("benchmarks")
    merged = _over(demo, values)
    merged["benchmarks"] = (
        {name: {"tasks": 8, **item} for name, item in values["benchmarks"].items()}
        if isinstance(values.get("benchmarks"), dict)
        else tasks
    )
    return merged


def _over(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **values}
    for name in defaults.keys() & values.keys():
        if isinstance(defaults[name], dict) and isinstance(values[name], dict):
            merged[name] = _over(defaults[name], values[name])
    return merged
