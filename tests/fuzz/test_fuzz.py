"""Replays the corpora and tries seeded random changes of them: a fixed amount of fuzzing in every run of the suite.

More of it: FASTLB_FUZZ=100000 sets the number of changes a target. A failure names the input; put it into the corpus
of its target, where it stays.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
CHANGES = int(os.environ.get("FASTLB_FUZZ", "2500"))
ENTRIES = [(target, path) for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


def run(target: str, data: bytes) -> None:
    try:
        TARGETS[target](data)
    except Exception as e:
        e.add_note(f"{target}: {data!r}")
        raise


@pytest.mark.parametrize(("target", "path"), ENTRIES, ids=lambda v: v.name if isinstance(v, Path) else v)
def test_corpus(target: str, path: Path) -> None:
    run(target, path.read_bytes())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS)
def test_changes_of_the_corpus(target: str) -> None:
    corpus = [path.read_bytes() for name, path in ENTRIES if name == target]
    assert len(corpus) >= 10
    rng = random.Random(f"fastlb {target}")
    for _ in range(CHANGES):
        run(target, mutate(rng, corpus))


def test_every_corpus_has_its_target() -> None:
    assert {p.name for p in CORPUS.iterdir()} == set(TARGETS)
