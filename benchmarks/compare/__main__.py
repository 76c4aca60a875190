"""Runs the comparison: `python -m benchmarks.compare --minutes 15`. The code is that of `fastlb bench`."""

from __future__ import annotations

import sys
from pathlib import Path

from fastlb.bench.compare import main
from fastlb.bench.process import unwind_on_term

if __name__ == "__main__":
    unwind_on_term()
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[2]))
