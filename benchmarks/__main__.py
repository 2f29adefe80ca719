"""`python -m benchmarks NAME [options]`: one module per hot path, each with its goal in it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_SUBJECTS = {
    "accelerator",
    "architectures",
    "crossings",
    "networks",
    "overwrite",
    "populations",
    "products",
    "jobs",
}
NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _SUBJECTS
)
NAMES = [name for name in NAMES if not name.startswith("_")]

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"name a benchmark: {', '.join(NAMES)}; its options follow, --help shows them")
        sys.exit(2)
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
