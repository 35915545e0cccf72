"""Exit with 1 if the torch that was installed is a CUDA build, which needs `cuda.lock` too."""

import sys
from importlib.metadata import requires

sys.exit(any(name.startswith(("nvidia-", "cuda-")) for name in requires("torch") or []))
