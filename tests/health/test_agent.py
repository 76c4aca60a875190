"""Agents: HAProxy's words, what they change, and that silence changes nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import uvloop

from fastlb._core.region import DRAIN, MAINT, UP, Region
from fastlb.control.server_state import publish
from fastlb.control.slots import Assignment, Slots
from fastlb.health.agent_words import Advice, read_advice
from fastlb.health.monitor import Monitor
from fastlb.health.verdict import Word
from fastlb.spec import Address, AgentCheck, Backend, HealthCheck, Server, Spec
from fastlb.testing import Origin, respond


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("", Advice()),
        ("up", Advice(up=True, word="up")),
        ("down", Advice(up=False, word="down")),
        ("fail#disk is full", Advice(up=False, word="fail", reason="disk is full")),
        ("stopped # by hand ", Advice(up=False, word="stopped", reason="by hand")),
        ("75%", Advice(percent=75)),
        ("0%", Advice(percent=0)),
        ("weight:40%", Advice(percent=40)),
        ("weight:40", Advice(weight=40)),
        ("maxconn:30", Advice(limit=30)),
        ("ready", Advice(state="ready")),
        ("maint", Advice(state="maint")),
        ("drain\t50%, maxconn:7,UP", Advice(up=True, state="drain", percent=50, limit=7, word="up")),
        ("up down", Advice(up=False, word="down")),  # the last one
        ("sideways up", Advice(up=True, word="up", unknown="sideways")),
        ("75", Advice(unknown="75")),
        ("-5%", Advice(unknown="-5%")),
        ("maxconn:", Advice(unknown="maxconn:")),
        ("#75%", Advice(reason="75%")),
    ],
)
def test_words(line: str, advice: Advice) -> None:
    assert read_advice(line) == advice


class Site:
    """One server with an agent that says `line` (None: hangs up), and the monitor that asks it."""

    def __init__(self, *, check: HealthCheck | None = None, address=("127.0.0.1", 1), send: str = "") -> None:
        self.line: str | None = "up"
        self.asked = 0
        self.heard: list[str] = []
        self.changed = asyncio.Event()
        self.turns: list[str] = []
        self.send = send
        self.check = check
        self.server = Server("s", Address(*address), weight=100, max_connections=9, resolved=((2, tuple(address)),))
        self.region = Region.create(False, 1)
        self.monitor = Monitor(self.region, on_turn=lambda backend, server, text: self.turns.append(text))
        self.slots = Slots()
        self.spec, self.assignment = Spec((), ()), Assignment()

    async def __aenter__(self) -> Site:
        self.listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.listening.sockets[0].getsockname()[1]
        self.apply()
        return self

    async def __aexit__(self, *_) -> None:
        await self.monitor.close()
        self.listening.close()

    def apply(self, **changes) -> None:
        agent = AgentCheck(self.port, interval=0.02, timeout=5.0, send=self.send)
        fields = {"health_check": self.check, "agent_check": agent} | changes
        before = self.spec if self.assignment.generation else None
        self.spec = Spec((), (Backend("app", (self.server,), **fields),))
        self.assignment = self.slots.assign(self.spec)
        publish(self.region, self.spec, self.assignment, self.slots.fresh(), before=before)
        self.monitor.apply(self.spec, self.assignment)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.send:
            self.heard.append((await reader.readline()).decode())
        if self.line is not None:
            writer.write(self.line.encode() + b"\r\n")
        writer.close()
        self.asked += 1
        self.changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                self.changed.clear()
                await self.changed.wait()

    async def says(self, line: str | None) -> None:
        """Returns when the agent has said so and it was heard."""
        self.line = line
        asked = self.asked
        await self.until(lambda: self.asked >= asked + 3)


def run(work) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def test_state_weight_and_limit() -> None:
    async def work() -> None:
        async with Site() as site:
            region = site.region
            assert region.state(0) == UP
            await site.says("down#maintenance")
            assert region.state(0) == 0
            await site.says("50%")  # says nothing of up or down
            assert (region.state(0), region.weight(0)) == (0, 50)
            await site.says("up maxconn:30")
            assert (region.state(0), region.weight(0), region.limit(0)) == (UP, 50, 30)
            await site.says("drain")
            assert region.state(0) == UP | DRAIN
            await site.says("maint")
            assert region.state(0) == UP | MAINT
            await site.says("ready 100%")
            assert (region.state(0), region.weight(0)) == (UP, 100)
            assert site.turns == [
                "its agent says down (maintenance)", "its agent says up", "its agent says drain",
                "its agent says maint", "its agent says ready",
            ]  # fmt: skip

    run(work)


def test_silence_and_nonsense_change_nothing(caplog) -> None:
    caplog.set_level(logging.INFO, "fastlb.health")

    async def work() -> None:
        async with Site() as site:
            await site.says("down 20%")
            epoch = site.region.epoch(0)
            await site.says(None)
            status = site.monitor.agent("app", site.server)
            assert status is not None
            assert status.last is not None
            assert status.last.word is Word.L7RSP
            assert status.down
            await site.says("what? 80%")
            site.listening.close()
            await asyncio.sleep(0.1)
            assert (site.region.state(0), site.region.weight(0), site.region.epoch(0)) == (0, 20, epoch)

    run(work)
    lines = [r.getMessage() for r in caplog.records]
    assert sum("nothing changes" in line for line in lines) in (2, 3)  # once each, not every time


def test_what_is_sent_to_it() -> None:
    async def work() -> None:
        async with Site(send="how are you?\n") as site:
            await site.says("up")
            assert set(site.heard) == {"how are you?\n"}

    run(work)


def test_a_small_share_is_not_none() -> None:
    async def work() -> None:
        async with Site() as site:
            site.server = replace(site.server, weight=3)
            site.apply()
            for line, weight in (("1%", 1), ("0%", 0), ("200%", 6), ("weight:70000", 65535)):
                await site.says(line)
                assert site.region.weight(0) == weight

    run(work)


def test_up_takes_both_the_checks_and_the_agent() -> None:
    async def work() -> None:
        with Origin(respond("no", 503)) as origin:
            check = HealthCheck(interval=0.02, timeout=5.0, rise=1, fall=1)
            async with Site(check=check, address=origin.address) as site:
                state = lambda: site.region.state(0)  # noqa: E731
                await site.until(lambda: state() == 0)
                await site.says("down")
                await site.says("up")
                assert state() == 0  # the checks fail
                await site.says("down")
                origin.script = respond("ok")
                status = lambda: site.monitor.status("app", site.server)  # noqa: E731
                await site.until(lambda: status().up)
                await site.says("down")
                assert state() == 0  # the agent says no
                await site.says("up")
                assert state() == UP

    run(work)


def test_without_its_agent_a_server_is_what_the_file_says() -> None:
    async def work() -> None:
        async with Site() as site:
            await site.says("down 10% maxconn:2")
            assert site.region.state(0) == 0
            site.apply()  # the same again: the agent's word stands
            assert (site.region.state(0), site.region.weight(0)) == (0, 10)
            site.apply(agent_check=AgentCheck(site.port, interval=30.0))  # asked otherwise
            assert site.region.state(0) == 0
            site.apply(agent_check=None)
            assert site.region.state(0) == UP
            assert site.monitor.agent("app", site.server) is None

    run(work)


def test_weight_and_limit_go_back() -> None:
    async def work() -> None:
        async with Site() as site:
            await site.says("10% maxconn:2")
            site.apply(agent_check=None)
            assert (site.region.weight(0), site.region.limit(0)) == (100, 9)

    run(work)
