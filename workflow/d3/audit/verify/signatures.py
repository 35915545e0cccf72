"""Signatures with a key of the user: who stands for the statements of a run.

`d3 sign` writes `results/lineage/signed/NAME.txt`, one line `SHA256  STATEMENT` for every statement (and
for the facts), and `NAME.txt.sig` beside it, made by `ssh-keygen -Y sign`. Anybody who trusts the
public key checks both with `ssh-keygen -Y verify` alone. `d3 verify` compares the list with the
statements, checks the signature, and says whose key it is: by the file of allowed signers if there
is one, else only by the key's fingerprint.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from d3.audit.job_graph import Finding, Run, load
from d3.core.ids import file_digest
from d3.core.tables import remove, written_whole
from d3.errors import D3Error, InputError, ToolError
from d3.provenance.statement import FACTS

FOLDER = Path("results/lineage/signed")
NAMESPACE = "d3-statements"
NAME = re.compile(r"[\w.@-]+")
ALLOWED = "allowed_signers"
"""File in the folder of signatures, or named by the user, in the format of ssh-keygen(1)."""


def listing(run: Run) -> str:
    """Return the text that is signed: digest and path of every statement and every file of facts, sorted."""
    facts = {path.relative_to(run.root).as_posix(): file_digest(path) for path in (run.root / FACTS).glob("*.json")}
    digests = {path: statement.digest for path, statement in run.statements.items()} | facts
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))


def sign(root: Path, key: Path, name: str) -> Path:
    """Sign all statements with an SSH key (or a public key whose private part an agent holds).

    Gives the signature's path. Raises D3Error for a faulty statement, ToolError when ssh-keygen is
    missing or refuses.
    """
    if not NAME.fullmatch(name):
        raise D3Error("is no name for a signer", where=name, remedy="use letters, digits and . _ @ -")
    if not key.is_file():
        raise InputError("no such key", where=str(key), remedy="make one: ssh-keygen -t ed25519 -f KEY")
    run = load(root)
    if run.faults:
        raise D3Error(run.faults[0].what, where=run.faults[0].path, remedy="run `d3 verify` first")
    path = root / FOLDER / f"{name}.txt"
    signature = path.with_name(f"{path.name}.sig")
    remove(signature)
    with written_whole(path) as part:
        part.write_text(listing(run), encoding="utf-8")
    _ssh_keygen("-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE, str(path))
    return signature


def check_signatures(run: Run, allowed: Path | None = None) -> tuple[list[str], list[Finding]]:
    """Return who signed, and what does not fit: a broken signature, or statements that it does not cover."""
    signers: list[str] = []
    findings: list[Finding] = []
    folder = run.root / FOLDER
    known = allowed or folder / ALLOWED
    for signature in sorted(folder.glob("*.txt.sig")):
        path = signature.with_suffix("")
        name = path.relative_to(run.root).as_posix()
        try:
            signers.append(_signer(path, signature, known))
        except ToolError as error:
            findings.append(Finding(path=name, what=f"its signature does not hold: {error.reason}"))
            continue
        findings += [Finding(path=name, what=what) for what in _differences(path.read_text("utf-8"), listing(run))]
    for path in sorted(folder.glob("*.txt")):
        if not path.with_name(f"{path.name}.sig").exists():
            findings.append(Finding(path=path.relative_to(run.root).as_posix(), what="its signature is missing"))
    return signers, findings


def _differences(signed: str, found: str) -> Iterator[str]:
    """Yield statements that are others than those that were signed, or gone; more statements are no fault."""
    now = {path: digest for digest, path in (line.split("  ", 1) for line in found.splitlines())}
    for line in signed.splitlines():
        digest, path = line.split("  ", 1)
        if now.get(path) != digest:
            yield f"{path} is {'another one than was signed' if path in now else 'gone since it was signed'}"


def _signer(path: Path, signature: Path, allowed: Path) -> str:
    """Check a signature; give who made it. Raises ToolError for one that does not hold."""
    checked = _ssh_keygen("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature), text=path)
    found = re.search(r"with (\S+) key (\S+)", checked)
    key = f"{found[1]} key {found[2]}" if found else "a key"
    if not allowed.is_file():
        return f"{path.stem} ({key}; no list of allowed signers says whose it is)"
    names = _ssh_keygen("-Y", "find-principals", "-s", str(signature), "-f", str(allowed)).split()
    if not names:
        raise ToolError(f"{key} is not in {allowed.name}")
    _ssh_keygen("-Y", "verify", "-f", str(allowed), "-I", names[0], "-n", NAMESPACE, "-s", str(signature), text=path)
    return f"{names[0]} ({key})"


def _ssh_keygen(*arguments: str, text: Path | None = None) -> str:
    """Run ssh-keygen; give what it printed. Raises ToolError."""
    if shutil.which("ssh-keygen") is None:
        raise ToolError("ssh-keygen is not installed", remedy="install openssh-client")
    done = subprocess.run(
        ["ssh-keygen", *arguments],
        stdin=text.open("rb") if text else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise ToolError(" ".join(done.stdout.split()) or "ssh-keygen failed", remedy="check the key")
    return done.stdout
