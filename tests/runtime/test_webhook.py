"""Events by webhook: posted in order, again until taken, with what was missed counted."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from fastlb.control.events import Events
from fastlb.runtime import webhook
from fastlb.runtime.webhook import Receiver, Webhook
from fastlb.testing import Close, Origin, in_turn, interim, respond


def run(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


def url(origin: Origin) -> str:
    return f"http://{origin.name}/hook?key=1"


def posts(origin: Origin) -> list[dict]:
    return [json.loads(request.body) for request in list(origin.requests)]


async def until(origin: Origin, requests: int) -> None:
    await asyncio.to_thread(origin.wait_requests, requests)


def test_what_is_posted() -> None:
    async def work() -> None:
        with Origin(respond("", 204)) as origin:
            events = Events(clock=lambda: 0.5)
            events.add("server", "app/s0", "long ago")
            hook = Webhook(events)
            hook.point(Receiver(url(origin)))
            events.add("server", "app/s1", "5 requests failed in a row", level="warning", old="UP", new="EJECTED")
            await until(origin, 1)
            request = origin.requests[0]
            assert request.start == "POST /hook?key=1 HTTP/1.1"
            assert request.header("host") == origin.name
            assert request.header("content-type") == "application/json"
            (body,) = posts(origin)
            assert body["text"] == "server app/s1 is EJECTED: 5 requests failed in a row"
            assert body["events"] == [
                {"seq": 2, "at": "1970-01-01T00:00:00.500000+00:00", "kind": "server", "level": "warning",
                 "subject": "app/s1", "text": "5 requests failed in a row", "old": "UP", "new": "EJECTED"}
            ]  # fmt: skip
            assert (body["program"], body["missed"]) == ("fastlb", 0)
            await hook.close()

    run(work)


def test_only_from_a_level_on() -> None:
    async def work() -> None:
        with Origin([interim(), *respond("ok")]) as origin:
            events = Events()
            hook = Webhook(events)
            hook.point(Receiver(url(origin), "warning"))
            for level in ("info", "warning", "info", "error"):
                events.add("process", "", level, level=level)
            await until(origin, 1)
            (body,) = posts(origin)
            assert [e["text"] for e in body["events"]] == ["warning", "error"]
            await hook.close()

    run(work)


@pytest.mark.parametrize("first", [respond("", 503), respond("", 429), [Close()]])
def test_again_until_it_is_taken(first, monkeypatch, caplog) -> None:
    monkeypatch.setattr(webhook, "FIRST_PAUSE", 0.01)
    caplog.set_level(logging.INFO, "fastlb.runtime")

    async def work() -> None:
        with Origin(in_turn(first, first, first, respond("ok"))) as origin:
            events = Events()
            hook = Webhook(events)
            hook.point(Receiver(url(origin)))
            events.add("process", "", "one")
            await until(origin, 4)
            events.add("process", "", "two")
            await until(origin, 5)
            sent = [[e["text"] for e in body["events"]] for body in posts(origin)]
            assert sent == [["one"]] * 4 + [["two"]]
            await hook.close()
            assert hook.delivered in (1, 2)

    run(work)
    assert sum("tried again until it works" in r.getMessage() for r in caplog.records) == 1
    assert sum("taken again" in r.getMessage() for r in caplog.records) == 1


def test_what_is_refused_is_given_up(caplog) -> None:
    async def work() -> None:
        with Origin(in_turn(respond("", 404), respond("ok"))) as origin:
            events = Events()
            hook = Webhook(events)
            hook.point(Receiver(url(origin)))
            events.add("process", "", "one")
            await until(origin, 1)
            events.add("process", "", "two")
            await until(origin, 2)
            assert [e["text"] for e in posts(origin)[1]["events"]] == ["two"]
            await hook.close()

    run(work)
    assert any("1 events were refused: it answered 404" in r.getMessage() for r in caplog.records)


def test_what_left_the_ring_is_counted(monkeypatch) -> None:
    monkeypatch.setattr(webhook, "FIRST_PAUSE", 0.01)

    async def work() -> None:
        with Origin(respond("", 500)) as origin:
            events = Events(kept=5)
            hook = Webhook(events)
            hook.point(Receiver(url(origin)))
            events.add("process", "", "1")
            await until(origin, 1)
            for number in range(2, 13):
                events.add("process", "", str(number))
            seen = len(origin.requests)
            await until(origin, seen + 2)  # the last of these began after the events
            origin.script = respond("ok")
            seen = len(origin.requests)
            await until(origin, seen + 1)
            body = posts(origin)[-1]
            assert [e["text"] for e in body["events"]] == ["8", "9", "10", "11", "12"]
            assert body["missed"] == 7
            await hook.close()

    run(work)


def test_pointed_elsewhere_and_nowhere() -> None:
    async def work() -> None:
        with Origin(respond("ok")) as one, Origin(respond("ok")) as two:
            events = Events()
            hook = Webhook(events)
            hook.point(Receiver(url(one)))
            events.add("process", "", "first")
            await until(one, 1)
            hook.point(Receiver(url(one)))  # the same: nothing changes
            hook.point(Receiver(url(two)))
            events.add("process", "", "second")
            await until(two, 1)
            assert [e["text"] for e in posts(two)[0]["events"]] == ["second"]
            hook.point(None)
            events.add("process", "", "third")
            await asyncio.sleep(0.05)
            assert (len(one.requests), len(two.requests)) == (1, 1)
            await hook.close()

    run(work)
