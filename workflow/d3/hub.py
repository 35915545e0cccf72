"""Models from the Hugging Face hub: fetched once, at a pinned commit, where there is a network."""

from pathlib import Path

from d3.errors import ToolError
from d3.stage import Job
from d3.tables import remove

UNWANTED = ["*.pth", "*.pt", "*.bin", "*.gguf", "original/*"]
"""Weights in formats that are not used; the safetensors beside them are."""


def fetch_model(output: Path, name: str, revision: str) -> None:
    """Download one commit of a model into a folder; raises ToolError with a remedy when that fails."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    with Job("hub_model", config=None, settings={"name": name, "revision": revision}) as job:
        part = job.file(output)
        try:
            huggingface_hub.snapshot_download(name, revision=revision, local_dir=part, ignore_patterns=UNWANTED)
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            remedy = "check the connection, the name, the commit and your hub token, or give a local folder"
            raise ToolError(f"could not download {name} at {revision} ({reason})", remedy=remedy) from None
        remove(part / ".cache")
