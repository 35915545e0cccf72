"""The folders of this checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The package `d3`."""
IMPORT_ROOT = PACKAGE.parent
"""The folder on the import path that contains the package."""
REPOSITORY = IMPORT_ROOT.parent
SNAKEFILE = IMPORT_ROOT / "Snakefile"
