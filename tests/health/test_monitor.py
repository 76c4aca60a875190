"""Transitions: rise and fall, the fragile start, slow start, what reload keeps, what it costs."""

from __future__ import annotations

import asyncio
import itertools
import logging
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import uvloop

from fastlb._core.region import FULL_RAMP, UP, Region
from fastlb.control.resolve import literal
from fastlb.control.server_state import publish, retire
from fastlb.control.slots import Assignment, Slots
from fastlb.health.monitor import Monitor, Status
from fastlb.health.ramp import STEPS, factor
from fastlb.health.verdict import Word
from fastlb.spec import Address, Backend, HealthCheck, Server, Spec
from fastlb.testing import Origin, respond

CHECK = HealthCheck(path="/health", interval=0.02, timeout=5.0, rise=2, fall=3)


def server(address, name: str = "one") -> Server:
    made = Address(path=address) if isinstance(address, str) else Address(*address)
    return Server(name, made, resolved=literal(made))


class Bench:
    """A monitor over a private region, and the results as they come."""

    def __init__(self, spec: Spec, **options) -> None:
        self.region = Region.create(False, 1)
        self.slots = Slots()
        self.results: list[tuple[str, Status]] = []
        self.changed = asyncio.Event()
        self.monitor = Monitor(self.region, on_check=self._result, **options)
        self.spec = spec
        self.assignment = Assignment()
        self.apply(spec)

    def apply(self, spec: Spec) -> None:
        before = self.spec if self.assignment.generation else None
        self.spec, self.assignment = spec, self.slots.assign(spec)
        publish(self.region, spec, self.assignment, self.slots.fresh(), before=before)
        retire(self.region, self.slots.retired_servers())
        self.monitor.apply(spec, self.assignment)

    def _result(self, backend: str, server: Server, status: Status) -> None:
        self.results.append((server.name, status))
        self.changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not done():
                self.changed.clear()
                await self.changed.wait()

    async def checks(self, count: int) -> list[Status]:
        """The next `count` results."""
        start = len(self.results)
        await self.until(lambda: len(self.results) >= start + count)
        return [s for _, s in self.results[start : start + count]]


def spec(*servers: Server, check: HealthCheck | None = CHECK, slow_start: float = 0.0) -> Spec:
    return Spec((), (Backend("app", servers, health_check=check, slow_start=slow_start),))


def run(work, *, loop=uvloop.new_event_loop) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_fall_and_rise_count_in_a_row(loop, caplog) -> None:
    caplog.set_level(logging.INFO, "fastlb.health")
    good, bad = respond("ok"), respond("no", 503)

    async def work() -> None:
        with Origin(good) as origin:
            bench = Bench(spec(server(origin.address)))
            assert bench.region.state(0) == UP  # from the start
            (status,) = await bench.checks(1)
            assert (status.up, status.fragile, status.streak, status.needed) == (True, False, 0, 3)

            origin.script = bad
            await bench.until(lambda: bench.results[-1][1].streak == 2)
            assert bench.region.state(0) == UP
            origin.script = good  # two failures and a success: back to none
            await bench.until(lambda: bench.results[-1][1].streak == 0)
            assert bench.region.state(0) == UP

            epoch = bench.region.group_epoch(0)
            origin.script = bad
            await bench.until(lambda: not bench.results[-1][1].up)
            status = bench.results[-1][1]
            assert bench.region.state(0) == 0
            assert bench.region.group_epoch(0) == epoch + 1
            assert (status.needed, status.streak) == (2, 0)
            assert status.last is not None
            assert status.last.word is Word.L7STS
            streaks = [s.streak for _, s in bench.results[-3:]]
            assert streaks == [1, 2, 0]

            origin.script = good
            await bench.until(lambda: bench.results[-1][1].up)
            assert [s.streak for _, s in bench.results[-2:]] == [1, 0]
            assert bench.region.state(0) == UP
            assert bench.region.ramp(0) == FULL_RAMP  # no slow start configured
            await bench.monitor.close()
            origin.wait_closed()

    run(work, loop=loop)
    texts = [r.getMessage() for r in caplog.records]
    assert any("server app/one is DOWN: L7STS (status 503)" in t and "0 of 1 servers up" in t for t in texts)
    assert "backend app has no server left" in texts
    assert any("server app/one is UP: L7OK in" in t for t in texts)


def test_a_server_that_was_never_well_goes_at_its_first_failure() -> None:
    async def work() -> None:
        with Origin(respond("no", 500)) as origin:
            bench = Bench(spec(server(origin.address)))
            assert bench.monitor.status("app", bench.spec.backends[0].servers[0]).fragile
            (status,) = await bench.checks(1)
            assert not status.up
            assert bench.region.state(0) == 0
            await bench.monitor.close()

    run(work)


def test_refused_then_back() -> None:
    async def work() -> None:
        with Origin() as origin:
            bench = Bench(spec(server(origin.address), check=replace(CHECK, type="tcp")))
            await bench.checks(1)
            origin.refuse()
            await bench.until(lambda: not bench.results[-1][1].up)
            assert bench.results[-1][1].last.word is Word.L4CON
            origin.listen()
            await bench.until(lambda: bench.results[-1][1].up)
            assert bench.results[-1][1].last.word is Word.L4OK
            await bench.monitor.close()

    run(work)


def test_down_until_the_first_good_check() -> None:
    async def work() -> None:
        with Origin(respond("no", 503)) as origin:
            bench = Bench(spec(server(origin.address), check=replace(CHECK, initial="down", rise=3)))
            assert bench.region.state(0) == 0
            (status,) = await bench.checks(1)
            assert not status.up
            origin.script = respond("ok")
            await bench.until(lambda: bench.results[-1][1].up)
            assert [s.up for _, s in bench.results[-2:]] == [False, True]  # one was enough
            origin.script = respond("no", 503)
            await bench.until(lambda: not bench.results[-1][1].up)
            count = len(bench.results)
            origin.script = respond("ok")
            await bench.until(lambda: bench.results[-1][1].up)
            assert len(bench.results) - count >= 3  # from now on it takes three
            await bench.monitor.close()

    run(work)


def test_another_interval_while_down() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        with Origin(respond("no", 503)) as origin:
            check = replace(CHECK, interval=0.02, down_interval=0.3, fall=2, jitter=0.0)
            bench = Bench(spec(server(origin.address), check=check))
            bench.monitor._on_check = lambda *result: (times.append(loop.time()), bench._result(*result))
            await bench.checks(4)
            await bench.monitor.close()
        assert bench.region.state(0) == 0
        pauses = [b - a for a, b in itertools.pairwise(times)]
        assert all(pause > 0.25 for pause in pauses)  # it was down at once, being fragile

    run(work)


def test_own_errors_change_nothing(monkeypatch) -> None:
    async def work() -> None:
        with Origin() as origin:
            bench = Bench(spec(server(origin.address)))
            await bench.checks(1)
            import fastlb.health.probe as probe_module

            real = probe_module.socket.socket

            class NoneLeft(real):
                def __init__(self, *args, **kwargs) -> None:
                    raise OSError(24, "Too many open files")

            with monkeypatch.context() as patch:
                patch.setattr(probe_module.socket, "socket", NoneLeft)
                statuses = await bench.checks(5)
            assert {s.last.word for s in statuses[1:]} == {Word.SOCKERR}
            assert all(s.up and s.streak == 0 for s in statuses)
            assert bench.region.state(0) == UP
            await bench.monitor.close()

    run(work)


def test_another_port_is_checked_where_told() -> None:
    async def work() -> None:
        with Origin() as origin, Origin(respond("no", 500)) as other:
            bench = Bench(spec(server(other.address), check=replace(CHECK, port=origin.address[1])))
            (status,) = await bench.checks(1)
            assert status.up
            assert other.requests == []
            await bench.monitor.close()

    run(work)


def test_intervals_are_jittered_and_starts_spread() -> None:
    """The first check comes after chance x interval, then one every interval x (0.9 + 0.2 x chance)."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        with Origin() as origin:
            for chance, first, pause in ((0.0, 0.0, 0.18), (1.0, 0.2, 0.22)):
                times: list[float] = []
                began = loop.time()
                bench = Bench(
                    spec(server(origin.address), check=replace(CHECK, interval=0.2)),
                    chance=lambda chance=chance: chance,
                )
                for _ in range(3):
                    await bench.checks(1)
                    times.append(loop.time() - began)
                assert times[0] >= first
                assert times[1] - times[0] >= pause - 0.05
                assert times[2] >= first + 2 * pause - 0.01
                await bench.monitor.close()

    run(work)


def test_slow_start_begins_low_and_ends_full() -> None:
    async def work() -> None:
        with Origin() as origin:
            bench = Bench(spec(server(origin.address), slow_start=0.4))
            await bench.checks(1)
            assert bench.region.ramp(0) == FULL_RAMP  # not at the first start
            origin.script = respond("no", 500)
            await bench.until(lambda: not bench.results[-1][1].up)
            origin.script = respond("ok")
            await bench.until(lambda: bench.results[-1][1].up)
            assert bench.region.ramp(0) == round(0.1 * FULL_RAMP)
            assert bench.region.state(0) == UP
            seen = [bench.region.ramp(0)]
            epoch = bench.region.epoch(0)

            def full() -> bool:
                if bench.region.ramp(0) != seen[-1]:
                    seen.append(bench.region.ramp(0))
                return seen[-1] == FULL_RAMP

            await bench.until(full)
            assert seen == sorted(seen)
            assert len(seen) > 4
            assert bench.region.epoch(0) - epoch <= STEPS + 1
            await bench.monitor.close()

    run(work)


def test_falling_in_slow_start_starts_it_over() -> None:
    async def work() -> None:
        with Origin(respond("no", 500)) as origin:
            bench = Bench(spec(server(origin.address), slow_start=60.0))
            await bench.checks(1)
            await bench.until(lambda: not bench.results[-1][1].up)
            for _ in range(2):
                origin.script = respond("ok")
                await bench.until(lambda: bench.results[-1][1].up)
                assert bench.region.ramp(0) == round(0.1 * FULL_RAMP)
                origin.script = respond("no", 500)
                await bench.until(lambda: not bench.results[-1][1].up)
            await bench.monitor.close()

    run(work)


@pytest.mark.parametrize(
    ("elapsed", "window", "share"),
    [(0, 60, 0.1), (6, 60, 0.1), (15, 60, 0.25), (30, 60, 0.5), (60, 60, 1), (61, 60, 1), (0, 0, 1)],
)  # fmt: skip
def test_ramp_is_envoys_curve(elapsed: float, window: float, share: float) -> None:
    assert factor(elapsed, window) == pytest.approx(share)


def test_reload_keeps_what_did_not_change() -> None:
    async def work() -> None:
        with Origin() as one, Origin(respond("no", 500)) as two:
            first = spec(server(one.address, "one"), server(two.address, "two"))
            bench = Bench(first)
            await bench.until(lambda: bench.region.state(1) == 0)
            await bench.until(lambda: any(n == "one" for n, _ in bench.results))

            # the same servers in another order, renamed: down stays down, nothing is checked anew
            bench.apply(spec(server(two.address, "deux"), server(one.address, "one")))
            assert bench.region.state(bench.assignment.server("app", Address(*two.address))) == 0
            status = bench.monitor.status("app", server(two.address))
            assert (status.up, status.fragile) == (False, False)

            # other settings: checked by them, from the state it had
            other = replace(CHECK, path="/other")
            bench.apply(spec(server(one.address, "one"), server(two.address, "two"), check=other))
            await bench.until(lambda: any(r.path == "/other" for r in two.requests))
            assert bench.region.state(1) == 0

            # no checks any more: nobody says that it is down
            bench.apply(spec(server(one.address, "one"), server(two.address, "two"), check=None))
            assert bench.region.state(1) == UP
            assert bench.monitor.status("app", server(one.address)) is None
            await bench.monitor.close()

    run(work)


def test_a_removed_server_is_checked_no_more() -> None:
    async def work() -> None:
        with Origin() as one, Origin() as two:
            bench = Bench(spec(server(one.address, "one"), server(two.address, "two")))
            await asyncio.to_thread(two.wait_requests, 1)
            bench.apply(spec(server(one.address, "one")))
            two.wait_closed()
            count = len(two.requests)
            await bench.checks(5)
            assert len(two.requests) == count
            await bench.monitor.close()

    run(work)


def test_unresolved_servers_are_not_checked() -> None:
    async def work() -> None:
        with Origin() as origin:
            lost = Server("lost", Address("nowhere.invalid", 80))
            bench = Bench(spec(lost, server(origin.address, "one")))
            await bench.checks(3)
            assert {name for name, _ in bench.results} == {"one"}
            assert bench.region.state(0) == 0
            await bench.monitor.close()

    run(work)


ANSWER = """
import asyncio, sys, uvloop

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)

uvloop.run(main())
"""


def test_two_thousand_servers_are_checked() -> None:
    """1,000 checks a second; what one costs is printed, and held by nobody here: time is for benchmarks."""
    with subprocess.Popen([sys.executable, "-c", ANSWER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as answering:
        assert answering.stdout is not None
        target = ("127.0.0.1", int(answering.stdout.readline()))

        async def work() -> float:
            # distinct identities, one socket address
            servers = tuple(Server(f"s{n}", Address("127.0.0.1", n + 1), resolved=((2, target),)) for n in range(2000))
            bench = Bench(spec(*servers, check=replace(CHECK, interval=2.0)))
            await bench.checks(200)
            used = resource.getrusage(resource.RUSAGE_SELF)
            await bench.checks(2000)
            now = resource.getrusage(resource.RUSAGE_SELF)
            assert all(s.up for _, s in bench.results)
            await bench.monitor.close()
            return (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / 2000

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            cpu = runner.run(work())
        answering.communicate()
    print(f"{cpu * 1e6:.0f} us a check")
