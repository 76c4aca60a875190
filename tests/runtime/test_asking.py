"""Questions to several engines, and watchers of their logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastlb.control.region import Region
from fastlb.runtime import asking
from fastlb.runtime.asking import LogTail, ask_all
from fastlb.runtime.host import EngineHost
from tests.runtime.standin import StandIn


class Engine:
    """Answers a turn of the loop later; `silent` never does."""

    def __init__(self, slot: int, answers: dict[str, Any], *, silent: bool = False) -> None:
        self.slot = slot
        self.answers = answers
        self.silent = silent
        self.asked: list[str] = []

    def ask(self, what: str, told: Callable[[Any], None]) -> None:
        self.asked.append(what)
        if not self.silent:
            asyncio.get_running_loop().call_soon(told, self.answers.get(what))


def test_all_answers_by_slot() -> None:
    async def main() -> None:
        found: dict[int, Any] = {}
        await ask_all([Engine(n, {"x": n * 10}) for n in range(3)], "x", found.__setitem__)
        assert found == {0: 0, 1: 10, 2: 20}
        await ask_all([], "x", found.__setitem__)

    asyncio.run(main())


def test_one_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.05)

    async def main() -> None:
        found: dict[int, Any] = {}
        await ask_all([Engine(0, {"x": 1}), Engine(1, {}, silent=True)], "x", found.__setitem__)
        assert found == {0: 1}

    asyncio.run(main())


def test_watchers_get_lines_from_their_own_beginning() -> None:
    async def main() -> None:
        members = [Engine(0, {"watch": b"a\n"}), Engine(1, {"watch": None})]
        tail = LogTail(members)
        tail.feed(0, b"nobody watches\n", 0)
        one, before = await tail.watch()
        assert before == {0: b"a\n", 1: None} and members[0].asked == ["watch"]
        tail.feed(0, b"b\n", 0)
        beginning = asyncio.create_task(tail.watch())
        await asyncio.sleep(0)
        tail.feed(0, b"c\n", 0)  # sent before the answer to the second one, so it is in there already
        two, _ = await beginning
        tail.feed(1, b"d\n", 2)
        assert await one.next(1) == ([(0, b"b\n"), (0, b"c\n"), (1, b"d\n")], 2)
        assert await two.next(1) == ([(1, b"d\n")], 2)
        assert await two.next(0.01) == ([], 0)
        one.close()
        one.close()
        assert "unwatch" not in members[0].asked[:-1] or members[0].asked[-1] != "unwatch"
        tail.feed(0, b"e\n", 0)
        assert await two.next(1) == ([(0, b"e\n")], 0)
        two.close()
        assert members[0].asked[-1] == members[1].asked[-1] == "unwatch"

    asyncio.run(main())


def test_waiting_ends_with_the_first_line() -> None:
    async def main() -> None:
        tail = LogTail([Engine(0, {"watch": b""})])
        watch, _ = await tail.watch()
        asyncio.get_running_loop().call_later(0.02, tail.feed, 0, b"x\n", 0)
        assert await asyncio.wait_for(watch.next(30), 5) == ([(0, b"x\n")], 0)
        watch.close()

    asyncio.run(main())


def test_who_does_not_keep_up_is_told_how_much_he_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "QUEUED", 10)

    async def main() -> None:
        tail = LogTail([Engine(0, {"watch": b""})])
        watch, _ = await tail.watch()
        tail.feed(0, b"12345678\n", 0)
        tail.feed(0, b"1\n2\n3\n", 1)
        assert await watch.next(1) == ([(0, b"12345678\n")], 4)
        tail.feed(0, b"4\n", 0)
        assert await watch.next(1) == ([(0, b"4\n")], 0)
        watch.close()

    asyncio.run(main())


def test_a_member_that_comes_back_is_asked_again() -> None:
    async def main() -> None:
        member = Engine(0, {"watch": b"old life\n"})
        tail = LogTail([member])
        tail.joined(member)
        assert member.asked == []  # nobody watches
        watch, before = await tail.watch()
        assert before == {0: b"old life\n"}
        member.answers["watch"] = b"before it heard\n"
        tail.joined(member)
        beginning = asyncio.create_task(tail.watch())
        two, before = await beginning
        assert before == {0: b"before it heard\n"}
        tail.feed(0, b"new life\n", 0)
        assert await watch.next(1) == ([(0, b"before it heard\n"), (0, b"new life\n")], 0)
        assert await two.next(1) == ([(0, b"new life\n")], 0)
        watch.close()
        two.close()

    asyncio.run(main())


def test_a_question_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(StandIn):
        def errors(self) -> list[dict[str, Any]]:
            raise ValueError("no idea")

    async def main() -> None:
        host = EngineHost(Region.create(False, 1), 0, Broken, max_connections=1)
        assert host.answer("errors", lambda lines, lost: None) is None
        assert host.answer("connections", lambda lines, lost: None) == ([], 0)
        assert host.answer("what is this", lambda lines, lost: None) is None

    asyncio.run(main())
    assert "no answer to the question 'errors'" in caplog.text and "no idea" in caplog.text
