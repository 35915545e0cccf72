"""Run by the Python of the validators: the official RO-Crate validator on a folder, without a network.

    python crate_validator.py FOLDER LEVEL      LEVEL: REQUIRED or RECOMMENDED

The validator asks the network for two JSON-LD contexts. Here they come out of the `rocrate` package,
with the names that version 1.1 had, and out of the terms of the run profiles below. Prints the issues, one a line.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

TERMS = "https://w3id.org/ro/terms/workflow-run#"
RUN_TERMS = ("ContainerImage", "DockerImage", "ParameterConnection", "SIFImage", "connection", "containerImage",
             "environment", "md5", "registry", "resourceUsage", "sha1", "sha256", "sha512", "sourceParameter", "tag",
             "targetParameter")  # fmt: skip
BIOSCHEMAS = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}
PROFILES = ("process-run-crate-0.5", "workflow-run-crate-0.5", "provenance-run-crate-0.5")


def contexts() -> dict[str, dict[str, Any]]:
    """Return the contexts by their address."""
    base = json.loads((files("rocrate") / "data" / "ro-crate.jsonld").read_text())["@context"]
    return {
        "https://w3id.org/ro/crate/1.1/context": {"@context": {**base, **BIOSCHEMAS}},
        "https://w3id.org/ro/terms/workflow-run/context": {"@context": {name: TERMS + name for name in RUN_TERMS}},
    }


class Answer:
    """What a request gets."""

    def __init__(self, body: dict[str, Any] | None) -> None:
        self.status_code = 200 if body else 504
        self.text = json.dumps(body)
        self.content = self.text.encode()
        self.headers = {"Content-Type": "application/ld+json"}
        self.ok = body is not None
        self.from_cache = True

    def json(self) -> Any:
        return json.loads(self.text)

    def raise_for_status(self) -> None:
        if not self.ok:
            raise OSError("no network")


def main() -> int:
    """Validate; give the exit code."""
    from rocrate_validator import services
    from rocrate_validator.models import Severity
    from rocrate_validator.utils.http import HttpRequester

    known = contexts()

    def fetch(self: Any, name: str) -> Any:
        if name not in ("get", "head"):
            raise AttributeError(name)
        return lambda url, *arguments, **options: Answer(known.get(url))

    HttpRequester.__getattr__ = fetch
    HttpRequester.fetch_fresh = lambda self, url, **options: Answer(known.get(url))
    folder, level = Path(sys.argv[1]), sys.argv[2]
    failed = False
    for profile in PROFILES:
        settings = services.ValidationSettings(
            rocrate_uri=str(folder),
            profile_identifier=profile,
            requirement_severity=Severity[level],
            offline=True,
        )
        result = services.validate(settings)
        failed |= result.has_issues()
        for issue in result.get_issues():
            print(f"{profile} {issue.severity.name} {issue.message} [{issue.violatingEntity}]")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
