"""Coverage-guided fuzzing of one target: `python -m tests.fuzz request_head [libFuzzer options]`; needs atheris.

Guidance comes from the Python side (targets and oracles); a build with `CC=clang CFLAGS=-fsanitize=fuzzer-no-link` adds
the parser's own branches. Findings of worth go to tests/fuzz/corpus/<target>/, new inputs of a run to a folder named
first among the options.
"""

from __future__ import annotations

import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    names = sorted(p.name for p in CORPUS.iterdir())
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(names)}}} [libFuzzer options]")
    try:
        import atheris
    except ImportError:
        sys.exit("coverage-guided fuzzing needs atheris (pip install atheris); the test-suite fuzzes without it")
    with atheris.instrument_imports(include=["tests"]):
        from tests.fuzz.targets import TARGETS
    target = sys.argv.pop(1)
    atheris.Setup([*sys.argv, str(CORPUS / target)], TARGETS[target])
    atheris.Fuzz()


main()
