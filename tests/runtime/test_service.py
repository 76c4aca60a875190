"""Replacing the configuration of running engines, in processes and in this one; names that are found later."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvloop

from fastlb._core.region import EJECTED, UP
from fastlb.control.resolve import resolve
from fastlb.control.sockets import ListenError
from fastlb.errors import ConfigError
from fastlb.runtime import crew as crew_module
from fastlb.runtime import names as names_module
from fastlb.runtime import worker_process
from fastlb.runtime.crew import ProcessCrew
from fastlb.runtime.embedded import Embedded
from fastlb.runtime.inline import InlineCrew
from fastlb.runtime.service import Service, StartError
from fastlb.spec import Address, Server, Spec
from tests.helpers import SLOWNESS
from tests.runtime.conftest import make_spec
from tests.runtime.standin import StandIn

COMMAND = [sys.executable, "-m", "tests.runtime.standin", "worker"]


def with_servers(spec: Spec, *servers: Server) -> Spec:
    return replace(spec, backends=(replace(spec.backends[0], servers=servers),))


@asynccontextmanager
async def running(spec: Spec, workers: int) -> AsyncIterator[tuple[Service, ProcessCrew | InlineCrew]]:
    service = Service(spec, workers=workers)
    await service.open()
    crew = ProcessCrew(service, COMMAND) if workers else InlineCrew(service, StandIn)
    try:
        await crew.start()
        yield service, crew
    finally:
        await crew.stop()
        await service.close()


async def get(service: Service, target: str) -> str:
    def work() -> str:
        (place,) = service.listeners.addresses()["web"]
        connection = http.client.HTTPConnection(*place, timeout=20)
        try:
            connection.request("GET", target)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(work)


def run(work) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


ANY = (Address("127.0.0.1", 0),)
ONE, TWO, THREE = (Server(f"s{n}", Address("127.0.0.1", n)) for n in (1, 2, 3))


@pytest.mark.parametrize("workers", [0, 2])
def test_apply_reaches_every_engine_and_keeps_lines(workers: int) -> None:
    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE, TWO), workers=workers)
        async with running(first, workers) as (service, crew):
            assert await get(service, "/generation") == "1"
            service.region.change_state(1, set=EJECTED)
            second, _ = await resolve(with_servers(first, replace(TWO, weight=77), THREE))
            assert await service.apply(second, crew) == []
            assert {await get(service, "/generation") for _ in range(8)} == {"2"}
            assert service.assignment.server("app", TWO.address) == 1
            assert service.region.weight(1) == 77
            assert service.region.state(1) == UP | EJECTED
            assert service.assignment.server("app", THREE.address) == 2
            assert service.region.state(0) == 0
            # all acknowledged, nothing in flight: the line of the one that left is free again
            third, _ = await resolve(with_servers(first, TWO, THREE, ONE))
            await service.apply(third, crew)
            assert service.assignment.server("app", ONE.address) == 0
            assert service.region.state(0) == UP
            if workers:
                assert [service.region.worker_status(w).generation for w in range(workers)] == [3] * workers

    run(work)


def test_an_index_in_use_is_not_given_on() -> None:
    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE, TWO))
        async with running(first, 0) as (service, crew):
            service.region.hold(0, 0)  # a request of the old configuration
            second, _ = await resolve(with_servers(first, TWO))
            await service.apply(second, crew)
            third, _ = await resolve(with_servers(first, TWO, THREE))
            await service.apply(third, crew)
            assert service.assignment.server("app", THREE.address) == 2
            service.region.hold(0, 0, -1)
            await service.apply(third, crew)
            fourth, _ = await resolve(with_servers(first, TWO, THREE, ONE))
            await service.apply(fourth, crew)
            assert service.assignment.server("app", ONE.address) == 0

    run(work)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_engine_that_refuses_says_why(workers: int) -> None:
    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE,), workers=workers)
        async with running(first, workers) as (service, crew):
            bad, _ = await resolve(with_servers(first, replace(ONE, name="refuse this")))
            (line,) = await service.apply(bad, crew)
            assert line.endswith("ValueError: refused: refuse this")
            assert service.spec.backends[0].servers[0].name == "s1"
            assert await get(service, "/generation") == "3"  # the first one again

    run(work)


def test_workers_that_cannot_join_change_nothing(monkeypatch) -> None:
    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE,), workers=1)
        async with running(first, 1) as (service, crew):
            monkeypatch.setenv("STANDIN_DIES", "no room")
            more, _ = await resolve(make_spec(0, listen=ANY, servers=(TWO,), workers=2))
            (line,) = await service.apply(more, crew)
            assert "worker 1 did not start 5 times in a row: RuntimeError: no room" in line
            monkeypatch.delenv("STANDIN_DIES")
            assert service.workers == 1
            assert [member.slot for member in crew.members()] == [0]
            assert await get(service, "/generation") == "1"
            assert await service.apply(more, crew) == []
            assert [(member.slot, member.state) for member in crew.members()] == [(0, "ready"), (1, "ready")]

    run(work)


def test_a_stopped_worker_is_killed_and_replaced(monkeypatch) -> None:
    """SIGABRT does not reach a stopped process; SIGKILL does."""
    monkeypatch.setattr(worker_process, "STALL", 0.6)
    monkeypatch.setattr(worker_process, "ABORT_GRACE", 0.3)
    monkeypatch.setattr(crew_module, "WATCH", 0.1)

    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE,), workers=1)
        async with running(first, 1) as (service, crew):
            (before,) = crew.members()
            os.kill(before.pid, signal.SIGSTOP)
            answer = await get(service, "/")  # waits in the queue of the slot's socket
            (after,) = crew.members()
            assert answer == f"worker 0 pid {after.pid}" != f"worker 0 pid {before.pid}"
            texts = [event.text for event in service.events.after(0)]
            assert f"pid {before.pid} was killed by SIGKILL; 0 requests were on it" in texts

    run(work)


def test_a_worker_that_dies_over_an_apply_runs_the_new_one_afterwards() -> None:
    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE,), workers=1)
        async with running(first, 1) as (service, crew):
            deadly, _ = await resolve(with_servers(first, replace(ONE, name="die once")))
            assert await service.apply(deadly, crew) == []
            assert await get(service, "/generation") == "2"

    run(work)


def test_too_many_servers_change_nothing() -> None:
    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE,))
        async with running(first, 0) as (service, crew):
            many = tuple(Server(f"m{n}", Address(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1)) for n in range(65537))
            with pytest.raises(ConfigError, match="too many"):
                await service.apply(with_servers(first, *many), crew)
            assert service.assignment.generation == 1
            assert await get(service, "/generation") == "1"

    run(work)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_name_found_later_brings_its_server_up(monkeypatch, workers: int) -> None:
    known: dict[str, str] = {}

    async def work() -> None:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()

        class Patched:
            def __getattr__(self, name: str):
                return getattr(loop, name)

            async def getaddrinfo(self, host, port, **kwargs):
                asked.set()
                if host not in known:
                    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[host], 0))]

        monkeypatch.setattr("fastlb.control.resolve.asyncio.get_running_loop", lambda: Patched())
        monkeypatch.setattr(names_module, "RETRY", 0.02)
        spec = make_spec(0, listen=ANY, servers=(Server("later", Address("later.test", 80)), ONE), workers=workers)
        async with running(spec, workers) as (service, crew):
            service.watch(crew)
            assert [service.region.state(i) for i in (0, 1)] == [0, UP]
            for _ in range(3):
                asked.clear()
                await asked.wait()
            assert service.region.state(0) == 0
            known["later.test"] = "127.0.0.7"
            async with asyncio.timeout(20):
                while await get(service, "/generation") != "2":
                    pass
            assert service.region.state(0) == UP
            assert service.spec.backends[0].servers[0].resolved == ((int(socket.AF_INET), ("127.0.0.7", 80)),)
            asked.clear()
            await asyncio.sleep(0.1)
            assert not asked.is_set()  # all names have an address: nobody asks any more

    run(work)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_embedded_engine(loop) -> None:
    async def work() -> None:
        spec = make_spec(0, listen=ANY)
        async with Embedded(spec, factory=StandIn) as embedded:
            ((host, port),) = embedded.addresses["web"]
            assert port > 0
            assert embedded.info.workers == 0
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.read(1000)).startswith(b"HTTP/1.1 200")
            with pytest.raises(RuntimeError, match="already started"):
                await embedded.__aenter__()
        assert await reader.read() == b""  # idle: closed by the drain
        writer.close()
        with pytest.raises(RuntimeError, match="not started"):
            embedded.addresses  # noqa: B018
        with pytest.raises(OSError):
            await asyncio.open_connection(host, port)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


def test_an_exception_in_the_block_drops_everything_at_once() -> None:
    async def work() -> None:
        spec = make_spec(0, listen=ANY, drain=60)
        with pytest.raises(KeyError):
            async with Embedded(spec, factory=StandIn) as embedded:
                _, writer = await asyncio.open_connection(*embedded.addresses["web"][0])
                writer.write(b"GET /slow?/nowhere/at/all HTTP/1.1\r\nHost: a\r\n\r\n")
                await writer.drain()
                raise KeyError
        writer.close()

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    run(bounded)


def test_failing_to_start_leaves_nothing_open(monkeypatch) -> None:
    async def work() -> None:
        spec = make_spec(0, listen=ANY)
        monkeypatch.setenv("STANDIN_DIES", "no")
        embedded = Embedded(spec, factory=StandIn)
        with pytest.raises(StartError, match="RuntimeError: no"):
            await embedded.__aenter__()
        monkeypatch.delenv("STANDIN_DIES")
        async with embedded:  # may be tried again
            pass
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(ListenError):
                await Embedded(make_spec(taken.getsockname()[1]), factory=StandIn).__aenter__()

    run(work)


def test_sockets_of_workers_that_left_are_closed() -> None:
    """After a while, in the supervisor and in the workers; the service goes on, and may grow again."""

    async def work() -> None:
        first = make_spec(0, listen=ANY, servers=(ONE,), workers=3)
        async with running(first, 3) as (service, crew):
            service.linger = 0.0
            assert isinstance(crew, ProcessCrew)
            two, _ = await resolve(make_spec(0, listen=ANY, servers=(ONE,), workers=2))
            assert await service.apply(two, crew) == []
            await service.settle(crew)  # as after a reload
            assert len(crew._retiring) <= 1
            async with asyncio.timeout(20 * SLOWNESS):
                while service.listeners.surplus() or service.listeners.leaving():
                    await asyncio.sleep(0.01)
                async with service.lock:  # the workers have let go
                    pass
            assert [len(list(service.listeners.of_slot(slot))) for slot in range(2)] == [1, 1]
            assert [len(worker._listening) for worker in crew.workers[:2]] == [1, 1]
            assert {await get(service, "/generation") for _ in range(20)} == {"2"}
            three, _ = await resolve(make_spec(0, listen=ANY, servers=(ONE,), workers=3))
            async with asyncio.timeout(20 * SLOWNESS):
                while await service.apply(three, crew):  # the one before still drains
                    await asyncio.sleep(0.05)
            assert [len(list(service.listeners.of_slot(slot))) for slot in range(3)] == [1, 1, 1]
            assert len({await get(service, "/generation") for _ in range(20)}) == 1

    run(work)
