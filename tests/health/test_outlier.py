"""Ejection and readmission in simulated time, over a real region."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from fastlb._core.region import DRAIN, EJECTED, FULL_RAMP, MAINT, UP, Region
from fastlb.control import counters
from fastlb.control.server_state import describe, publish
from fastlb.control.slots import Assignment, Slots
from fastlb.health.monitor import Status
from fastlb.health.outlier import Detector
from fastlb.health.ramp import Ramps
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, Backend, HealthCheck, Outlier, Server, Spec

GOOD = Verdict(Word.L7OK)
BAD = Verdict(Word.L4CON)
DEFAULTS = Outlier()


class NoRamps(Ramps):
    """Notes what is begun; a clock is not needed."""

    def __init__(self, region: Region) -> None:
        super().__init__(region)
        self.begun: list[tuple[int, float]] = []

    def start(self, server: int, window: float) -> None:
        self.begun.append((server, window))


class Bench:
    """Servers s0, s1, ... of one backend, seconds that pass when told to."""

    def __init__(self, count: int, rules: Outlier | None = DEFAULTS, **backend) -> None:
        self.region = Region.create(False, 2)
        self.region.begin_worker(0)
        self.region.begin_worker(1)
        self.ramps = NoRamps(self.region)
        self.turns: list[tuple[str, str, str]] = []
        self.detector = Detector(
            self.region, self.ramps, on_turn=lambda b, s, text: self.turns.append((b, s.name, text))
        )
        self.slots = Slots()
        self.now = 0.0
        self.spec = Spec((), ())
        self.assignment = Assignment()
        resolved = ((2, ("127.0.0.1", 1)),)
        self.servers = tuple(Server(f"s{i}", Address("127.0.0.1", i + 1), resolved=resolved) for i in range(count))
        self.apply(Backend("app", self.servers, outlier=rules, **backend))

    def apply(self, *backends: Backend) -> None:
        before = (self.spec, self.assignment)
        self.spec = Spec((), backends)
        self.assignment = self.slots.assign(self.spec)
        publish(
            self.region,
            self.spec,
            self.assignment,
            self.slots.fresh(),
            before=before[0] if before[1].generation else None,
        )
        self.detector.apply(self.spec, self.assignment)

    def index(self, i: int) -> int:
        return self.assignment.server("app", self.servers[i].address)

    def fail(self, i: int, count: int = 1) -> None:
        self.region.use(self.index(i), failed=True, count=count)

    def succeed(self, i: int, count: int = 1) -> None:
        self.region.use(self.index(i), count=count)

    def answer(self, i: int, seconds: float, count: int) -> None:
        """Answers as slow as that, of both workers."""
        for worker, part in enumerate((count // 3, count - count // 3)):
            self.region.record(worker, "server", self.index(i), counters.TIME_RESPONSE, round(seconds * 1e6), part)
        self.succeed(i, count)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            self.detector.sweep(self.now)

    def out(self) -> list[int]:
        return [i for i in range(len(self.servers)) if self.region.state(self.index(i)) & EJECTED]

    def standing(self, i: int):
        standing = self.detector.status("app", self.servers[i])
        assert standing is not None
        return standing


def test_five_failures_in_a_row(caplog) -> None:
    bench = Bench(3)
    bench.fail(1, 4)
    bench.pass_time(1)
    assert bench.out() == []
    bench.succeed(1)
    bench.fail(1, 4)  # eight of nine, but not five in a row
    bench.pass_time(1)
    assert bench.out() == []
    epoch = bench.region.group_epoch(0)
    bench.fail(1)
    bench.pass_time(1)
    assert bench.out() == [1]
    assert describe(bench.region.state(1)) == "EJECTED"
    assert bench.region.group_epoch(0) == epoch + 1  # workers learn of it
    standing = bench.standing(1)
    assert (standing.ejected, standing.left, standing.times) == (True, 10.0, 1)
    text = "server app/s1 is EJECTED for 10 s: 5 requests failed in a row; 2 of 3 servers left"
    assert text in [r.getMessage() for r in caplog.records]
    assert bench.turns == [("app", "s1", "ejected for 10 s: 5 requests failed in a row")]


def test_it_comes_back_slowly_and_counts_anew() -> None:
    bench = Bench(3)
    bench.fail(1, 5)
    bench.pass_time(1)
    bench.fail(1, 20)  # requests that were under way
    bench.pass_time(9)
    assert bench.out() == [1]
    assert bench.ramps.begun == []
    bench.pass_time(1)
    assert bench.out() == []
    assert bench.ramps.begun == [(1, 10.0)]
    assert bench.region.failures_in_a_row(1) == 0
    assert bench.turns[-1] == ("app", "s1", "ejection ended: its time is over")
    bench.fail(1, 4)
    bench.pass_time(1)
    assert bench.out() == []


def test_the_backends_slow_start_wins() -> None:
    for own, rule, begun in ((30.0, 10.0, 30.0), (0.0, 7.0, 7.0), (0.0, 0.0, 0.0)):
        bench = Bench(2, Outlier(slow_start=rule), slow_start=own)
        bench.fail(0, 5)
        bench.pass_time(11)
        assert bench.ramps.begun == [(0, begun)]


def test_ejections_double_up_to_the_longest() -> None:
    bench = Bench(2)
    lengths = []
    for _ in range(8):
        bench.fail(0, 5)
        bench.pass_time(1)
        assert bench.out() == [0]
        began = bench.now
        while bench.out():
            bench.pass_time(1)
        lengths.append(bench.now - began)
    assert lengths == [10, 20, 40, 80, 160, 300, 300, 300]


def test_good_intervals_take_a_step_back_each() -> None:
    bench = Bench(2)
    for _ in range(3):
        bench.fail(0, 5)
        bench.pass_time(1)
        while bench.out():
            bench.pass_time(1)
    assert bench.standing(0).times == 3
    bench.pass_time(20)
    assert bench.standing(0).times in (1, 2)
    bench.pass_time(40)
    assert bench.standing(0).times == 0
    bench.fail(0, 5)
    bench.pass_time(1)
    assert bench.standing(0).left == 10


@pytest.mark.parametrize(
    ("count", "share", "most"),
    [(1, 0.5, 0), (2, 0.5, 1), (3, 0.5, 1), (4, 0.5, 2), (9, 0.1, 0), (10, 0.1, 1), (3, 1.0, 2)],
)
def test_no_more_than_the_share_goes(count: int, share: float, most: int, caplog) -> None:
    bench = Bench(count, Outlier(max_ejected=share))
    for i in range(count):
        bench.fail(i, 5 + i)
    bench.pass_time(5)
    assert bench.out() == list(range(count - most, count))  # who failed most often
    stays = [r for r in caplog.records if "stays although" in r.getMessage()]
    assert len(stays) == count - most  # once each, not every second


def test_servers_down_count_as_out() -> None:
    bench = Bench(4)
    bench.region.change_state(bench.index(0), clear=UP)
    for i in (1, 2, 3):
        bench.fail(i, 5)
    bench.pass_time(1)
    assert len(bench.out()) == 1
    bench.region.change_state(bench.index(0), set=UP)
    bench.pass_time(1)
    assert len(bench.out()) == 2


def test_servers_that_the_operator_took_out_do_not_count_and_are_let_alone() -> None:
    bench = Bench(4)
    bench.region.change_state(bench.index(0), set=DRAIN)
    bench.region.change_state(bench.index(1), set=MAINT)
    for i in range(4):
        bench.fail(i, 5)
    bench.pass_time(1)
    assert bench.out() in ([2], [3])  # one of the two that are left


def test_success_rate_against_the_peers() -> None:
    bench = Bench(5, Outlier(consecutive_failures=0))
    for i in range(5):
        bench.succeed(i, 100)
    bench.pass_time(10)
    assert bench.out() == []
    assert [bench.standing(i).success_rate for i in range(5)] == [1.0] * 5
    for i in range(5):
        bench.succeed(i, 1000)
    bench.fail(2, 1000)
    bench.pass_time(9)
    assert bench.out() == []  # only at the end of the interval
    bench.pass_time(1)
    assert bench.out() == [2]
    assert bench.standing(2).success_rate == 0.5
    assert bench.standing(2).reason == "50.0% of its requests succeeded, of all servers' 90.0%"


def test_any_5xx_lowers_the_success_rate() -> None:
    bench = Bench(5, Outlier(consecutive_failures=0))
    for i in range(5):
        bench.succeed(i, 100)
    bench.region.count(1, "server", bench.index(4), counters.STATUS_5XX, 60)
    bench.pass_time(10)
    assert bench.standing(4).success_rate == pytest.approx(0.4)
    assert bench.out() == [4]


@pytest.mark.parametrize(
    ("servers", "requests", "rules"),
    [
        (4, 1000, Outlier(consecutive_failures=0)),
        (5, 99, Outlier(consecutive_failures=0)),
        (5, 1000, Outlier(consecutive_failures=0, success_rate=False)),
    ],
)
def test_too_few_to_compare(servers: int, requests: int, rules: Outlier) -> None:
    bench = Bench(servers, rules)
    for i in range(servers):
        bench.region.use(bench.index(i), failed=i == 0, count=requests)
    bench.pass_time(30)
    assert bench.out() == []


def test_requests_under_way_are_neither() -> None:
    bench = Bench(5, Outlier(consecutive_failures=0))
    for i in range(5):
        bench.succeed(i, 100)
    bench.region.hold(0, bench.index(0), 60)
    bench.pass_time(10)
    assert bench.standing(0).success_rate is None  # 40 have ended


def test_latency_against_the_peers() -> None:
    bench = Bench(3)
    for i in range(3):
        bench.answer(i, 0.05, 200)
    bench.pass_time(10)
    assert bench.out() == []
    for i in range(2):
        bench.answer(i, 0.05, 200)
    bench.answer(2, 0.05, 180)
    bench.answer(2, 0.5, 20)  # every tenth
    bench.pass_time(10)
    assert bench.out() == [2]
    assert bench.standing(2).p95 == pytest.approx(0.5, rel=0.13)
    assert bench.standing(0).p95 == pytest.approx(0.05, rel=0.13)
    assert "95% of its answers begin within 5" in bench.standing(2).reason


def test_latency_that_is_no_reason() -> None:
    for slow, often, rules in (
        (0.09, 200, Outlier()),  # below the floor
        (0.5, 6, Outlier()),  # 3% of the answers
        (0.5, 200, Outlier(latency=0)),
        (0.5, 200, Outlier(latency=60)),
    ):
        bench = Bench(3, rules)
        for i in range(3):
            bench.answer(i, 0.01, 200 if i else 200 - often)
        bench.answer(0, slow, often)
        bench.pass_time(10)
        assert bench.out() == []


def status(good: bool, up: bool = True) -> Status:
    return Status(up, 0, 2, GOOD if good else BAD, 0.0, False)


def test_good_checks_end_the_first_ejection() -> None:
    bench = Bench(2, health_check=HealthCheck(rise=2))
    for check in (True, True):
        bench.detector.checked("app", bench.servers[0], status(check))  # before it: counts for nothing
    bench.fail(0, 5)
    bench.pass_time(1)
    for check in (True, False, True):
        bench.detector.checked("app", bench.servers[0], status(check))
        assert bench.out() == [0]
    bench.detector.checked("app", bench.servers[0], status(True))
    assert bench.out() == []
    assert bench.ramps.begun == [(0, 10.0)]

    bench.fail(0, 5)  # again, at once: the check does not see what is wrong
    bench.pass_time(1)
    for _ in range(20):
        bench.detector.checked("app", bench.servers[0], status(True))
    assert bench.out() == [0]
    bench.pass_time(20)
    assert bench.out() == []


def test_checks_do_not_readmit_where_they_may_not() -> None:
    bench = Bench(2, Outlier(check_readmits=False), health_check=HealthCheck(rise=1))
    bench.fail(0, 5)
    bench.pass_time(1)
    bench.detector.checked("app", bench.servers[0], status(True))
    assert bench.out() == [0]
    bench = Bench(2, health_check=HealthCheck(rise=1))
    bench.fail(0, 5)
    bench.pass_time(1)
    bench.detector.checked("app", bench.servers[0], status(True, up=False))  # on its way up, not there
    assert bench.out() == [0]


def test_reload_keeps_what_is_known() -> None:
    bench = Bench(3)
    bench.fail(1, 5)
    bench.pass_time(1)
    (backend,) = bench.spec.backends
    bench.pass_time(5)
    bench.apply(replace(backend, servers=(replace(bench.servers[1], weight=5), bench.servers[0])))
    assert bench.standing(1).left == 5
    bench.pass_time(5)
    assert not bench.region.state(bench.assignment.server("app", bench.servers[1].address)) & EJECTED
    assert bench.detector.status("app", bench.servers[2]) is None


def test_turned_off_it_lets_everyone_in() -> None:
    bench = Bench(3)
    bench.fail(1, 5)
    bench.pass_time(1)
    (backend,) = bench.spec.backends
    bench.apply(replace(backend, outlier=None))
    assert bench.out() == []
    bench.fail(1, 50)
    bench.pass_time(20)
    assert bench.out() == []
    assert bench.detector.status("app", bench.servers[1]) is None


def test_somebody_else_may_put_it_back() -> None:
    bench = Bench(2)
    bench.fail(0, 5)
    bench.pass_time(1)
    bench.region.change_state(0, clear=EJECTED)
    bench.pass_time(1)
    assert bench.out() == []
    assert not bench.standing(0).ejected
    assert bench.region.ramp(0) == FULL_RAMP


def test_ejections_of_an_earlier_process_end() -> None:
    bench = Bench(2)
    bench.fail(0, 5)
    bench.pass_time(1)
    bench.detector = Detector(bench.region, bench.ramps)
    bench.detector.apply(bench.spec, bench.assignment)
    assert bench.standing(0).ejected
    bench.now = 0
    bench.pass_time(10)
    assert bench.out() == []


def test_two_thousand_servers() -> None:
    bench = Bench(2000)
    for i in range(2000):
        bench.answer(i, 0.001, 200)
    bench.pass_time(11)
    began = time.process_time()
    bench.pass_time(4)
    print(f"a sweep over 2000 servers: {(time.process_time() - began) / 4 * 1000:.2f} ms")
    assert bench.out() == []
