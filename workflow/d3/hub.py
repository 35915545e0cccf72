"""Models from the Hugging Face hub: fetched once, at a pinned commit, where there is a network."""

from pathlib import Path

from d3.errors import ToolError
from d3.stage import Job
from d3.tables import remove

UNWANTED = ["*.pth", "*.pt", "*.bin", "*.gguf", "original/*"]
"""Weights in formats that are not used; the safetensors beside them are."""


def hub_model(out: Path, model: str, revision: str) -> None:
    """Download one commit of a model from the hub into a folder.

    Raise ToolError with a remedy if the download fails.

    Example: d3 hub-model --model HuggingFaceTB/SmolLM2-135M-Instruct --revision COMMIT --out model
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    with Job("hub_model", config=None, settings={"name": model, "revision": revision}) as job:
        part = job.file(out)
        try:
            huggingface_hub.snapshot_download(model, revision=revision, local_dir=part, ignore_patterns=UNWANTED)
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            remedy = "check the connection, the name, the commit and your hub token, or give a local folder"
            raise ToolError(f"could not download {model} at {revision} ({reason})", remedy=remedy) from None
        remove(part / ".cache")
