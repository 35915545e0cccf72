"""Pushing a release to the Hugging Face Hub with its own client.

The token comes out of the client's environment or its file (`HF_TOKEN`, `hf auth login`): it is in no argument,
setting or log of ours, and is taken out of what the client says.
"""

import os
from pathlib import Path

from d3.core.hub import hub_fault
from d3.core.printable import printable
from d3.errors import InputError, ToolError
from d3.provenance.redact import scrub

CARD, SUMS = "README.md", "SHA256SUMS"


def check_release(folder: Path) -> None:
    """Raise InputError unless every file of a folder is as its SHA256SUMS says, and there is no other."""
    from d3.core.ids import file_digest

    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError):
        raise InputError("not a release", where=str(folder), remedy="make one with `d3 release`") from None
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {SUMS}
    other = sorted(found ^ expected.keys()) or sorted(n for n in found if file_digest(folder / n) != expected[n])
    if other:
        remedy = "make the release again; edit its card on the hub"
        raise InputError(f"{other[0]} is not as {SUMS} says", where=str(folder), remedy=remedy)


def push(folder: Path, name: str, *, public: bool) -> str:
    """Upload a release as one commit to the data set `name` (OWNER/NAME), made if there is none; return its address.

    Raise InputError for a folder that is not a release as it was made, ToolError if the hub refuses.
    """
    check_release(folder)
    if fault := hub_fault():
        raise ToolError(f"the hub cannot be reached ({fault})", remedy=f"push {folder} from a machine with a network")
    import huggingface_hub
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    token = huggingface_hub.get_token()
    if token is None:
        raise ToolError("there is no token of the hub", remedy="set HF_TOKEN, or run `hf auth login`")
    client = huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        client.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        commit = client.upload_folder(
            repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Add a release of the D3 pipeline"
        )
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, HTTPError, OSError, ValueError) as error:
        said = scrub((str(error).strip() or type(error).__name__).splitlines()[0].replace(token, "<KEY>"))
        remedy = "check the name, the token's rights (write) and the network, and run the same command again"
        raise ToolError(f"could not push to {name} ({printable(said)})", remedy=remedy) from None
    return str(commit.commit_url)
