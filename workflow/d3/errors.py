"""Errors that a user reads: one line that names the place, the reason and the remedy."""


class D3Error(Exception):
    """A failure that the user can act on; the command prints it as one line and exits with 1.

    `where` names the file (and the row, if there is one), `reason` what is wrong with it and
    `remedy` what to do next.
    """

    def __init__(self, reason: str, *, where: str = "", remedy: str = "") -> None:
        self.where = where
        self.reason = reason
        self.remedy = remedy
        parts = [part for part in (where, reason) if part]
        line = ": ".join(parts) + (f"; {remedy}" if remedy else "")
        super().__init__(" ".join(line.split()))


class ConfigError(D3Error):
    """A wrong key, type or range in the configuration."""


class InputError(D3Error):
    """An input file that cannot be read as what it should be."""


class ToolError(D3Error):
    """An outside program or environment that is missing or failed."""
