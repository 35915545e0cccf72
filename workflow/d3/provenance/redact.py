"""Keeping secrets out of what is written down: tokens, passwords and keys become a mark.

Statements, facts and attempts are read by everybody who gets a dataset. What enters them passes
through here: values of environment variables whose names say that they are secret, texts that look
like a token of a well-known service, passwords and queries inside addresses, and values under a
name such as `api_key` or `password`.
"""

import os
import re
from typing import Any

MARK = "[secret]"
SECRET_NAME = re.compile(
    r"(?!d3\.)(.*_)?(api_?key|key|token|secret|password|passwd|credentials?|auth)s?$", re.IGNORECASE
)
"""Names of settings and environment variables that hold a secret. `api_key_env` names a variable and holds none,
the module `d3.core.example_tokens` has a digest."""
TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{12,}|AIza[\w-]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+)"
)
"""Shapes of tokens: Hugging Face, OpenAI and alike, GitHub, GitLab, Slack, AWS, Google, JSON web tokens."""
ADDRESS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^/\s@]+@)?(?P<place>[^\s?#]*)(?:\?[^\s#]*)?", re.IGNORECASE
)
SHORTEST = 6
"""Values of secret variables that are shorter are left alone: `1` or `yes` hide nothing."""


def scrub(value: Any) -> Any:
    """Return a JSON value without secrets; what holds none comes back equal."""
    return _scrub(value, _known())


def _scrub(value: Any, known: list[str]) -> Any:
    if isinstance(value, str):
        return _text(value, known)
    if isinstance(value, dict):
        return {
            _text(name, known): MARK
            if isinstance(item, str) and item and SECRET_NAME.match(name)
            else _scrub(item, known)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_scrub(item, known) for item in value]
    return value


def _text(text: str, known: list[str]) -> str:
    for secret in known:
        text = text.replace(secret, MARK)
    text = ADDRESS.sub(r"\g<scheme>\g<place>", text) if "://" in text else text
    return TOKENS.sub(MARK, text)


def _known() -> list[str]:
    """Return the values of secret environment variables, the longest first."""
    found = {value for name, value in os.environ.items() if len(value) >= SHORTEST and SECRET_NAME.match(name)}
    return sorted(found, key=len, reverse=True)
