"""The table of flows against a dict: the same answers after every operation, however keys collide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastlb.engine.udp_table import FlowTableProbe

# Few different keys, so that operations meet; in the hash without a secret those with equal ends collide.
KEYS = st.builds(
    lambda head, tail: head.to_bytes(4, "little") + bytes(28) + tail.to_bytes(8, "little"),
    st.integers(0, 300),
    st.sampled_from((0, 0, 0, 1, 2**63)),
)


class Table(RuleBasedStateMachine):
    collide = False

    def __init__(self) -> None:
        super().__init__()
        self.table = FlowTableProbe(2000, collide=self.collide)
        self.model: dict[bytes, None] = {}

    @rule(keys=st.lists(KEYS, max_size=80))
    def add(self, keys: list[bytes]) -> None:
        for key in keys:
            assert self.table.add(key) is (key not in self.model)
            self.model[key] = None

    @rule(keys=st.lists(KEYS, max_size=80))
    def discard(self, keys: list[bytes]) -> None:
        for key in keys:
            assert self.table.discard(key) is (key in self.model)
            self.model.pop(key, None)

    @rule(key=KEYS)
    def look(self, key: bytes) -> None:
        assert (key in self.table) is (key in self.model)

    @rule()
    def empty(self) -> None:
        for key in self.model:
            assert self.table.discard(key)
        self.model.clear()
        assert self.table.slots == 64  # it gives back what it took

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.table) == len(self.model)
        assert all(key in self.table for key in self.model)
        assert self.table.slots * 3 >= len(self.table) * 4


class CollidingTable(Table):
    collide = True


TestTable = Table.TestCase
TestCollidingTable = CollidingTable.TestCase


@given(st.binary(min_size=40, max_size=40), st.binary(min_size=40, max_size=40))
def test_keys_differ_in_every_byte(one: bytes, other: bytes) -> None:
    table = FlowTableProbe(2)
    assert table.add(one)
    assert (other in table) is (one == other)


def test_a_hundred_thousand_flows() -> None:
    table = FlowTableProbe(100_000)
    keys = [n.to_bytes(40, "little") for n in range(100_000)]
    for key in keys:
        assert table.add(key)
    assert len(table) == 100_000
    for key in keys[::2]:
        assert table.discard(key)
    assert all((key in table) is bool(n % 2) for n, key in enumerate(keys))
