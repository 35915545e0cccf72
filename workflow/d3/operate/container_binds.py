"""What a job inside an image sees of the machine: the folders and the variables that a run declares.

Images are entered with `--containall --cleanenv`: nothing is there but what is named. Snakemake binds
the working folder. The rest goes through the variables that Apptainer itself reads, so that it holds
for every way a job gets into its image: the folders of the inputs (read-only), the code (read-only),
and the variables of the run, of SLURM and of the libraries between nodes.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from d3 import ARITHMETIC
from d3.config.models import prompt_path
from d3.core.paths import REPOSITORY
from d3.errors import ConfigError, ToolError
from d3.pipeline.pipeline import ADOPTABLE, Chain
from d3.pipeline.registry import STAGES
from d3.provenance.images import RECIPES, image_identity, image_path

WRITTEN = ("results", "work", "logs")
"""Folders that jobs write; they may be links to another disk."""
PASSED = ("D3_", "SLURM_", "CUDA_VISIBLE_DEVICES", "NCCL_", "GLOO_", *ARITHMETIC)
"""How the names of variables begin that reach a job."""


def check_checkout(*, images: bool, checkout: Path = REPOSITORY) -> None:
    """Raise ConfigError if the path of this checkout contains what search paths, or images, cannot contain."""
    refused = ":\n" + (" \t',\"" if images else "")
    if faulty := sorted({character for character in str(checkout) if character in refused}):
        what = ", ".join(map(repr, faulty)) + (" with images" if images else "")
        raise ConfigError(
            f"the path of the checkout must not contain {what}", where=repr(str(checkout)), remedy="move it"
        )


def binds(chain: Chain, folder: Path) -> list[str]:
    """Return Apptainer's binds for a run in the working folder `folder`, which comes first.

    Snakemake makes it the home, but a home below /tmp would vanish under the scratch disk. Raises
    ConfigError for a path that cannot be named in a bind.
    """
    found = {f"{folder}:{folder}": None}
    found |= {f"{REPOSITORY / name}:{REPOSITORY / name}:ro": None for name in ("workflow", "config")}
    for place in folders(inputs(chain)):
        if not _below(place, [folder.resolve(), REPOSITORY / "workflow", REPOSITORY / "config"]):
            found[f"{place}:{place}:ro"] = None
    for name in (*WRITTEN, chain.resources):
        target = (folder / name).resolve()
        if target.is_dir() and not _below(target, [folder.resolve()]):
            found[f"{target}:{target}"] = None
    for bind in found:
        if "," in bind or bind.count(":") not in (1, 2):
            raise ConfigError("a path with a comma or a colon cannot be bound into an image", where=bind)
    return list(found)


def inputs(chain: Chain) -> Iterable[Path]:
    """Yield the files and folders outside of the results that the configuration names."""
    yield from map(Path, chain.shards.values())
    if chain.opt_out:
        yield Path(chain.opt_out)
    yield from (Path(name.rpartition(":")[0]) for name in chain.config.corpus.filters if ".py:" in name)
    yield from (Path(model) for stage in STAGES if (model := chain.answering(stage)) and Path(model).is_dir())
    yield from (Path(model) for model in chain.untrained if Path(model).is_dir())
    yield from (Path(path) for path in chain.own_task_files)
    for setting in ADOPTABLE:
        yield from map(Path, chain.adopted_files(setting))
    for name in (name for stage in STAGES.values() for name in stage.prompts):
        section, field = name.split(".")
        yield prompt_path(getattr(getattr(chain.config, section), field))


def folders(paths: Iterable[Path]) -> list[Path]:
    """Return the folders to bind so that the paths can be read by their names, links followed to their ends."""
    found: dict[Path, None] = {}
    for path in paths:
        for place in (Path(os.path.abspath(path)), path.resolve()):
            if place.exists():
                found[place if place.is_dir() else place.parent] = None
    return list(found)


def _below(path: Path, places: Iterable[Path]) -> bool:
    return any(path == place or place in path.parents for place in places)


def variables(chain: Chain, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that reach jobs in images, under the names that Apptainer wants."""
    names = {name for name in environment if name.startswith(PASSED)}
    for stage in STAGES.values():
        if stage.asks:
            names.add(chain.engine(stage.name).api_key_env or "")
    return {f"APPTAINERENV_{name}": environment[name] for name in sorted(names & environment.keys())}


def open_images(chain: Chain, folder: Path) -> None:
    """Set this process's environment so that its jobs find in their images what they need.

    Their statements are told the SHA-256 of the image files. Raises ToolError for a damaged image.
    """
    known = [bind for bind in os.environ.get("APPTAINER_BIND", "").split(",") if bind]
    os.environ["APPTAINER_BIND"] = ",".join(dict.fromkeys([*known, *binds(chain, folder)]))
    facts = json.loads(os.environ.get("D3_RUN", "{}"))
    if "images" not in facts:
        there = [path for name in RECIPES if (path := image_path(name)).exists()]
        facts["images"] = {str(path): image_identity(path)["sha256"] for path in there}
        os.environ["D3_RUN"] = json.dumps(facts)
    os.environ.update(variables(chain, os.environ))


def check_images(environments: Iterable[str]) -> None:
    """Raise ToolError, naming what to run, when images of these environments have not been built."""
    missing = [name for name in sorted(set(environments) - {"main"}) if not image_path(name).exists()]
    if missing:
        raise ToolError(
            f"no image for {', '.join(missing)}",
            where=str(image_path(missing[0]).parent),
            remedy=f"build what is missing: make {' '.join(f'image-{name}' for name in missing)}",
        )
