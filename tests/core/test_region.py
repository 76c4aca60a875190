"""The shared region: layout, epochs, the ledger of a dead worker, counters, attaching from another process."""

from __future__ import annotations

import gc
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fastlb._core import region as region_module
from fastlb._core.region import DRAIN, FULL_RAMP, GAUGE_COUNTERS, READY, STARTING, UP, Region
from tests.helpers import ROOT

GAUGE = GAUGE_COUNTERS[-1]
COUNTERS = 56


@pytest.fixture(params=[True, False], ids=["memfd", "private"])
def region(request: pytest.FixtureRequest) -> Iterator[Region]:
    yield Region.create(request.param, 4)


def begin(region: Region, *workers: int) -> None:
    for worker in workers:
        region.begin_worker(worker)


def test_a_new_region_is_zero(region: Region) -> None:
    assert region.slots == 4
    assert region.state(0) == 0
    assert region.inflight(65535) == 0
    assert region.server_totals(65535) == [0] * COUNTERS
    assert region.worker_status(3) == (0, 0, 0, 0, 0, 0)


def test_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match=r"Region\.create"):
        Region()


@pytest.mark.parametrize("slots", [0, -1, 513])
def test_slots_out_of_range(slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        Region.create(True, slots)


def test_assigned_server(region: Region) -> None:
    region.assign_server(7, 2, weight=3, limit=10)
    assert (region.state(7), region.weight(7), region.limit(7), region.ramp(7)) == (UP, 3, 10, FULL_RAMP)


def test_each_change_bumps_server_and_group(region: Region) -> None:
    region.assign_server(7, 2)
    region.assign_server(8, 3)
    changes = [
        lambda: region.change_state(7, clear=UP),
        lambda: region.change_state(7, set=UP | DRAIN),
        lambda: region.set_weight(7, 0),
        lambda: region.set_limit(7, 5),
        lambda: region.set_ramp(7, 6554),
        lambda: region.release_server(7),
    ]
    for change in changes:
        before = (region.epoch(7), region.group_epoch(2), region.epoch(8), region.group_epoch(3))
        change()
        after = (region.epoch(7), region.group_epoch(2), region.epoch(8), region.group_epoch(3))
        assert after == (before[0] + 1, before[1] + 1, *before[2:])


def test_a_change_to_the_same_is_none(region: Region) -> None:
    region.assign_server(7, 2, weight=3, limit=4)
    before = (region.epoch(7), region.group_epoch(2))
    region.change_state(7, set=UP)
    region.set_weight(7, 3)
    region.set_limit(7, 4)
    region.set_ramp(7, FULL_RAMP)
    assert (region.epoch(7), region.group_epoch(2)) == before


def test_change_state_clears_before_it_sets(region: Region) -> None:
    region.assign_server(0, 0)
    assert region.change_state(0, set=UP | DRAIN, clear=UP) == UP | DRAIN
    assert region.change_state(0, clear=DRAIN) == UP


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda r: r.state(65536), IndexError),
        (lambda r: r.state(-1), IndexError),
        (lambda r: r.group_epoch(4096), IndexError),
        (lambda r: r.reap(4), IndexError),
        (lambda r: r.frontend_totals(1024), IndexError),
        (lambda r: r.set_weight(0, 65536), ValueError),
        (lambda r: r.set_weight(0, -1), ValueError),
        (lambda r: r.set_ramp(0, 0), ValueError),
        (lambda r: r.set_ramp(0, 65537), ValueError),
        (lambda r: r.set_limit(0, 1 << 32), ValueError),
        (lambda r: r.assign_server(0, 0, weight=65536), ValueError),
        (lambda r: r.count(0, "server", 0, COUNTERS), IndexError),
        (lambda r: r.count(0, "worker", 0, 0), ValueError),
    ],
)
def test_arguments_are_checked(region: Region, call, error) -> None:
    with pytest.raises(error):
        call(region)


def test_reap_gives_back_what_the_dead_worker_held(region: Region) -> None:
    begin(region, 0, 1)
    region.assign_server(0, 0)
    region.assign_server(5, 0)
    region.hold(0, 0, 3)
    region.hold(1, 0, 4)
    region.hold(0, 5, 1)
    assert (region.inflight(0), region.inflight(5), region.owned(0, 0)) == (7, 1, 3)
    before = region.group_epoch(0)
    assert region.reap(0) == 4
    assert (region.inflight(0), region.inflight(5)) == (4, 0)
    assert (region.owned(0, 0), region.owned(0, 5), region.owned(1, 0)) == (0, 0, 4)
    assert region.group_epoch(0) > before  # a server that was full may not be any more
    assert region.reap(0) == 0
    assert region.inflight(0) == 4


def test_reap_is_clamped_at_zero() -> None:
    """Killed between its two writes, a worker's row says one more than it added to the shared number."""
    region = Region.create(True, 1)
    begin(region, 0)
    region.assign_server(0, 0)
    region.hold(0, 0, 2)
    with mmap.mmap(region.fd, 0) as raw:
        first_server = 4096 + region_module.LIMITS["groups"] * 64
        assert struct.unpack_from("=I", raw, first_server) == (2,)
        struct.pack_into("=I", raw, first_server, 1)
    assert region.inflight(0) == 1
    assert region.reap(0) == 2
    assert region.inflight(0) == 0


def test_giving_back_more_than_held_is_refused(region: Region) -> None:
    begin(region, 0)
    region.assign_server(0, 0)
    region.hold(0, 0, 1)
    with pytest.raises(ValueError, match="more than"):
        region.hold(0, 0, -2)
    assert region.inflight(0) == 1


def test_totals_sum_the_workers_and_survive_one(region: Region) -> None:
    begin(region, 0, 1)
    region.assign_frontend(1)
    region.assign_group(2)
    region.assign_server(3, 2)
    for kind, index in (("frontend", 1), ("group", 2), ("server", 3)):
        region.count(0, kind, index, 4, 10)
        region.count(1, kind, index, 4, 5)
        region.count(0, kind, index, GAUGE, 7)
        region.count(1, kind, index, GAUGE, 2)
    for totals in (region.frontend_totals(1), region.group_totals(2), region.server_totals(3)):
        assert (totals[4], totals[GAUGE]) == (15, 9)
    region.reap(0)
    for totals in (region.frontend_totals(1), region.group_totals(2), region.server_totals(3)):
        assert (totals[4], totals[GAUGE]) == (15, 2)  # what happened stays, what was true is over
    region.begin_worker(0)
    region.count(0, "frontend", 1, 4)
    assert region.frontend_totals(1)[4] == 16


def test_a_new_holder_begins_at_zero_but_the_epoch_goes_on(region: Region) -> None:
    begin(region, 0)
    region.assign_frontend(1)
    region.assign_group(2)
    region.assign_server(3, 2)
    region.count(0, "frontend", 1, 0)
    region.count(0, "group", 2, 0)
    region.count(0, "server", 3, 0)
    region.hold(0, 3)
    region.release_server(3)
    epoch = region.epoch(3)
    assert region.server_totals(3)[0] == 1  # readable until the line is given on
    region.assign_frontend(1)
    region.assign_group(2)
    region.assign_server(3, 2)
    assert region.frontend_totals(1) == region.group_totals(2) == region.server_totals(3) == [0] * COUNTERS
    assert (region.inflight(3), region.owned(0, 3)) == (0, 0)
    assert region.epoch(3) > epoch


def test_worker_line(region: Region) -> None:
    region.begin_worker(2)
    first = region.worker_status(2)
    assert (first.state, first.beats) == (STARTING, 0)
    region.set_worker(2, pid=1234, state=READY, generation=9)
    region.beat(2, connections=17)
    status = region.worker_status(2)
    assert (status.pid, status.state, status.generation, status.connections, status.beats) == (1234, READY, 9, 17, 1)
    assert status.beat_ms >= first.beat_ms > 0
    region.reap(2)
    assert region.worker_status(2) == (0, 0, 0, 0, 0, 0)


ATTACH = """
import sys
from fastlb._core.region import Region
region = Region.attach(int(sys.argv[1]))
region.hold(1, 65535, 3)
region.count(1, "server", 65535, 31, 8)
region.beat(1, connections=5)
print(region.slots, region.weight(65535))
"""


def test_another_process_sees_and_changes_the_same_records() -> None:
    region = Region.create(True, 2)
    begin(region, 0, 1)
    region.assign_server(65535, 4095, weight=77)
    done = subprocess.run(
        [sys.executable, "-c", ATTACH, str(region.fd)],
        pass_fds=[region.fd],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2 77\n", "")
    assert (region.inflight(65535), region.owned(1, 65535)) == (3, 3)
    assert region.server_totals(65535)[31] == 8
    assert region.worker_status(1).connections == 5
    assert region.reap(1) == 3


def test_attach_refuses_another_file() -> None:
    fd = os.memfd_create("other")
    try:
        with pytest.raises(ValueError, match="too small"):
            Region.attach(fd)
        os.ftruncate(fd, 1 << 20)
        with pytest.raises(ValueError, match="not a fastlb region"):
            Region.attach(fd)
        os.fstat(fd)  # a refused descriptor stays the caller's
    finally:
        os.close(fd)


def test_the_file_cannot_be_resized() -> None:
    region = Region.create(True, 1)
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, 0)


def test_descriptor_goes_with_the_region() -> None:
    region = Region.create(True, 1)
    fd = region.fd
    del region
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_untouched_pages_cost_nothing() -> None:
    """The limits are generous because holes are free: a few used lines must not allocate the rest."""
    region = Region.create(True, 64)
    begin(region, 0, 1)
    region.assign_frontend(0)
    region.assign_group(0)
    for server in range(10):
        region.assign_server(server, 0)
        region.server_totals(server)
    region.reap(1)
    assert os.fstat(region.fd).st_blocks * 512 < 256 * 1024
    assert os.fstat(region.fd).st_size > 64 * (region_module.LIMITS["servers"] * 4)


def test_uses_are_counted_as_workers_count_them() -> None:
    region = Region.create(False)
    region.use(3, count=2)
    region.use(3, failed=True, count=4)
    assert (region.picks(3), region.failures(3), region.failures_in_a_row(3)) == (6, 4, 4)
    region.use(3)
    assert (region.picks(3), region.failures(3), region.failures_in_a_row(3)) == (7, 4, 0)
    region.use(3, failed=True)
    epoch = region.epoch(3)
    region.reset_failures(3)
    assert (region.failures(3), region.failures_in_a_row(3)) == (5, 0)
    assert region.epoch(3) == epoch  # nothing that workers choose by has changed
    with pytest.raises(OverflowError):
        region.use(3, count=-1)
