"""Models and files of data sets from the Hugging Face Hub, each downloaded once, at a commit, where there is a network.

Gated ones need a token. The client takes it from its environment or from its own file: it is in no argument, setting,
log or statement of ours.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d3.core.hub import hub_fault
from d3.core.pinned_inputs import check_commit
from d3.core.tables import remove
from d3.errors import REMEDIES, ToolError, number_of
from d3.pipeline.job import Job
from d3.provenance.redact import scrub

UNWANTED = ["*.pth", "*.pt", "*.bin", "*.gguf", "original/*"]
"""Weights of a model in formats that are not used; the safetensors beside them are."""


def hub_model(out: Path, model: str, revision: str) -> None:
    """Download one commit of a model from the hub into a folder.

    Raise ToolError with a remedy if the download fails.

    Example: d3 hub-model --model HuggingFaceTB/SmolLM2-135M-Instruct --revision COMMIT --out model
    """
    import huggingface_hub

    check_commit(model, revision)
    with Job("hub_model", config=None, settings={"name": model, "revision": revision}) as job:
        part = job.file(out)
        with _failures_named(model, revision, model):
            huggingface_hub.snapshot_download(model, revision=revision, local_dir=part, ignore_patterns=UNWANTED)
        remove(part / ".cache")


def hub_dataset(out: Path, dataset: str, revision: str, file: str) -> None:
    """Download one file of a data set from the hub, at a commit.

    Raise ToolError with a remedy if the download fails.

    Example: d3 hub-dataset --dataset OWNER/NAME --revision COMMIT --file data/train-0.parquet --out train-0.parquet
    """
    import huggingface_hub

    settings = {"name": dataset, "revision": revision, "file": file}
    with Job("hub_dataset", config=None, settings=settings) as job:
        part = job.file(out)
        folder = part.with_name(f"{part.name.removesuffix('.part')}-old.part")
        try:
            with _failures_named(dataset, revision, f"datasets/{dataset}"):
                found = huggingface_hub.hf_hub_download(
                    dataset, file, repo_type="dataset", revision=revision, local_dir=folder
                )
            os.replace(found, part)
        finally:
            remove(folder)


@contextmanager
def _failures_named(name: str, revision: str, page: str) -> Iterator[None]:
    """Turn what the client raises into a ToolError of one line."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    remedies: dict[type[Exception], str] = {
        GatedRepoError: f"accept its terms at https://huggingface.co/{page}, then run `hf auth login` or set HF_TOKEN",
        RepositoryNotFoundError: "check the name, and your hub token if it is private",
        RevisionNotFoundError: "check the commit",
    }  # the first is also of the second's kind
    if fault := hub_fault():
        remedy = "check the network (HTTPS_PROXY names a proxy), or give a local folder or file"
        raise ToolError(f"could not download {name}: the hub cannot be reached ({fault})", remedy=remedy)
    try:
        yield
    except (HfHubHTTPError, OSError, ValueError) as error:
        if isinstance(error, OSError) and number_of(error) in REMEDIES:
            raise
        reason = scrub((str(error).strip() or type(error).__name__).splitlines()[0])
        if isinstance(error, GatedRepoError):
            reason = "it is gated, and there is no token of an account that has access"
        known = (text for kind, text in remedies.items() if isinstance(error, kind))
        remedy = next(known, "check the name and the file, and run again; or give a local folder or file")
        raise ToolError(f"could not download {name} at {revision} ({reason})", remedy=remedy) from None
