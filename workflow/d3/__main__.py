"""`python -m d3`."""

import sys

from d3.cli import main

sys.exit(main())
