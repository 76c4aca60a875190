"""Stick tables: binding, expiry, who leaves when there is no room, and exactness over processes."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue

import pytest

from fastlb._core.region import Region
from fastlb.engine.stick_table import StickTable


def test_the_first_claim_holds_until_it_is_moved() -> None:
    table = StickTable(buckets=8)
    assert table.lookup(b"a", 1.0) is None
    assert table.enter(b"a", 3, 1.0) == 3
    assert table.enter(b"a", 4, 1.0) == 3  # somebody was faster: theirs holds
    assert table.lookup(b"a", 1.0) == 3
    assert table.enter(b"a", 4, 1.0, move=True) == 4
    assert table.lookup(b"a", 1.0) == 4
    assert table.lookup(b"b", 1.0) is None


def test_an_entry_expires_after_its_last_use() -> None:
    table = StickTable(buckets=8, expire=10.0)
    table.enter(b"a", 1, 0.0)
    assert table.lookup(b"a", 9.0) == 1  # its time begins anew
    assert table.lookup(b"a", 18.9) == 1
    assert table.lookup(b"a", 29.0) is None
    assert table.entries(29.0) == []
    assert table.enter(b"a", 2, 29.0) == 2  # an expired entry binds nobody


def test_the_one_unused_for_longest_makes_room() -> None:
    table = StickTable(buckets=1)
    for i in range(8):
        table.enter(b"key-%d" % i, i, float(i))
    assert table.used(8.0) == 8
    assert table.lookup(b"key-0", 8.0) == 0  # used again, so key-1 is the oldest now
    table.enter(b"new", 9, 9.0)
    assert table.lookup(b"key-1", 9.0) is None
    assert [table.lookup(k, 9.0) for k in (b"key-0", b"key-2", b"new")] == [0, 2, 9]
    assert table.used(9.0) == 8


def test_entries_tell_key_server_and_idle_time() -> None:
    table = StickTable(buckets=8)
    table.enter(b"session-1", 5, 2.0)
    table.enter(b"x" * 100, 6, 3.0)
    assert sorted(table.entries(4.0)) == [(b"session-1", 5, 2.0), (b"x" * 47, 6, 1.0)]
    assert len(table.entries(4.0, 1)) == 1
    table.clear()
    assert table.entries(4.0) == []


def test_wrong_places_are_refused() -> None:
    for first, buckets in ((0, 3), (0, 0), (1 << 17, 8), (0, 1 << 18)):
        with pytest.raises(ValueError, match="no place for a table"):
            StickTable(first=first, buckets=buckets)


def _claim(fd: int, worker: int, keys: int, start: object, result: Queue[list[int]]) -> None:
    table = StickTable(Region.attach(fd), 0, 4096, 0.0, worker)
    start.wait()  # type: ignore[attr-defined]
    result.put([table.enter(b"key-%d" % i, worker, 1.0) for i in range(keys)])


def test_all_processes_agree_on_the_server_of_a_new_key() -> None:
    region = Region.create(shared=True, slots=4)
    context = multiprocessing.get_context("fork")
    start, result = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_claim, args=(region.fd, w, 5000, start, result)) for w in range(4)]
    for w in workers:
        w.start()
    answers = [result.get(timeout=60) for _ in workers]
    for w in workers:
        w.join(timeout=60)
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert StickTable(region, 0, 4096).used(1.0) == 5000
