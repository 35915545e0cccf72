"""The D3 pipeline: raw source files in, models that write code diff by diff out."""

import os

__version__ = "0.1.0"

ARITHMETIC = {"OMP_WAIT_POLICY": "passive", "OMP_DYNAMIC": "FALSE", "MKL_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
"""Variables that numerical libraries read when they are loaded, set here unless the user has set them.

Idle threads wait without spinning, which makes a shared machine crawl. The libraries never choose by
themselves to use fewer threads, and MKL takes the same code path in every run: both are what Intel's
guide to numerical reproducibility asks for, since sums are rounded in another order otherwise.
"""

for name, value in ARITHMETIC.items():
    os.environ.setdefault(name, value)
