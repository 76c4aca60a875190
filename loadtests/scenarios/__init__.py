"""All scenarios by name, in the order in which `--scenario all` runs them. One file, one story (or a few of a kind)."""

from __future__ import annotations

from loadtests.model import Scenario
from loadtests.scenarios import affinity, failures, load, operations, unfriendly

SCENARIOS: dict[str, Scenario] = {
    s.name: s
    for s in (
        *load.SCENARIOS,
        *affinity.SCENARIOS,
        *failures.SCENARIOS,
        *operations.SCENARIOS,
        *unfriendly.SCENARIOS,
    )
}
