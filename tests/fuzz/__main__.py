"""Coverage-guided fuzzing of one target: `python -m tests.fuzz request_head [libFuzzer options]`; needs atheris.

Findings of worth go to tests/fuzz/corpus/<target>/. Best with the sanitizer build (`make asan` shows how to run it).
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [libFuzzer options]")
    try:
        import atheris
    except ImportError:
        sys.exit("coverage-guided fuzzing needs atheris (pip install atheris); the test-suite fuzzes without it")
    target = sys.argv.pop(1)
    atheris.Setup([*sys.argv, str(Path(__file__).parent / "corpus" / target)], TARGETS[target])
    atheris.Fuzz()


main()
