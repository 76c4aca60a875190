"""The operator's actions over a service without engines: reload, confirm and revert, servers, the overlay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastlb._core.region import DRAIN, MAINT
from fastlb.config import Report
from fastlb.config.overlay import read_overlay
from fastlb.control.slots import Assignment
from fastlb.errors import Problem
from fastlb.runtime.actions import Answer, Verdict
from fastlb.runtime.operator import Operator
from fastlb.runtime.service import Service
from fastlb.spec import Address, Backend, Frontend, Global, Listen, Server, ServerState, Spec

DONE, WRONG, UNKNOWN, REFUSED = Verdict.DONE, Verdict.WRONG, Verdict.UNKNOWN, Verdict.REFUSED


def at(number: int) -> Address:
    return Address(f"10.0.0.{number}", 80)


def server(number: int, **more: Any) -> Server:
    return Server(f"s{number}", at(number), **more)


def spec(*servers: Server, overlay: str = "") -> Spec:
    frontend = Frontend("web", (Listen(Address("127.0.0.1", 0)),), backend="app")
    return Spec(
        (frontend,), (Backend("app", servers or (server(1), server(2))),), Global(0, overlay=overlay), source="x"
    )


FILE = spec()


class Crew:
    """Takes what it is given, but for what `refuse` says; `unlistened` counts what settled."""

    def __init__(self) -> None:
        self.refuse: list[str] = []
        self.applied: list[Spec] = []
        self.go = asyncio.Event()
        self.go.set()

    async def apply(self, spec: Spec, assignment: Assignment) -> list[str]:
        await self.go.wait()
        self.applied.append(spec)
        refused, self.refuse = self.refuse, []
        return refused

    async def unlisten(self, numbers: Sequence[int], within: float) -> None:
        pass

    async def grow(self, count: int) -> list[str]:
        return []

    def shrink(self, count: int, within: float) -> None:
        pass


class Source:
    """A file of which the test says what it holds."""

    path = "/etc/x.toml"

    def __init__(self, now: Spec) -> None:
        self.now = Report(now)

    def read(self) -> Report:
        return self.now

    def parse(self, text: str, source: str) -> Report:
        return Report(spec(server(1, weight=int(text)))) if text.isdecimal() else broken(source)


def broken(source: str = "x") -> Report:
    return Report(
        None, (Problem("frontends", "y", "is wrong", file=source), Problem("backends", "z", "too", file=source))
    )


class Site:
    """An operator with what is around it."""

    def __init__(self, service: Service, crew: Crew, source: Source, operator: Operator) -> None:
        self.service = service
        self.crew = crew
        self.source = source
        self.operator = operator

    def index(self, number: int) -> int:
        return self.service.assignment.server("app", at(number))

    def weight(self, number: int = 1) -> int:
        return int(self.service.region.weight(self.index(number)))

    def flags(self, number: int = 1) -> int:
        return int(self.service.region.state(self.index(number))) & (DRAIN | MAINT)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.service.spec.backends[0].servers]

    def told(self) -> str:
        """The newest event."""
        return self.service.events.newest(1)[0].text


@asynccontextmanager
async def running(configured: Spec = FILE) -> AsyncIterator[Site]:
    service = Service(configured, workers=0, own_process=False)
    await service.open()
    crew, source = Crew(), Source(configured)
    operator = Operator(service, crew, configured, source)
    try:
        yield Site(service, crew, source, operator)
    finally:
        await operator.close()
        await service.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def reloaded(answer: Answer) -> list[str]:
    assert answer.verdict is DONE, answer
    return [str(one) for one in answer.differences]


# ---- reload


def test_a_reload_runs_what_the_file_says_now() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(1, weight=5), server(3)))
            answer = await site.operator.reload()
            assert reloaded(answer) == [
                "~ server app/s1 at 10.0.0.1:80: weight 1 -> 5",
                "- server app/s2 at 10.0.0.2:80",
                "+ server app/s3 at 10.0.0.3:80",
            ]
            assert answer.text == "configuration 2 runs: 3 differences" == site.told()
            assert site.names == ["s1", "s3"] and site.weight() == 5
            assert site.service.reloads == 1 and site.operator.configured() is site.source.now.spec

    run(main())


def test_a_wrong_file_changes_nothing() -> None:
    async def main() -> None:
        async with running() as site:
            before = site.service.spec
            site.source.now = broken()
            answer = await site.operator.reload()
            assert (answer.verdict, len(answer.problems), answer.ok) == (WRONG, 2, False)
            assert site.service.spec is before and site.service.reloads == 0 and site.crew.applied == []

    run(main())


def test_what_a_worker_refuses_is_not_kept() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(3)))
            site.crew.refuse = ["worker 1: no memory"]
            answer = await site.operator.reload()
            assert (answer.verdict, answer.workers) == (REFUSED, ("worker 1: no memory",))
            assert site.operator.configured() is FILE and site.names == ["s1", "s2"]
            # nor is a server that was to be added
            site.crew.refuse = ["worker 0: no"]
            assert (await site.operator.add_server("app", at(9))).verdict is REFUSED
            assert site.operator.changes() == () and site.names == ["s1", "s2"]

    run(main())


def test_run_time_changes_live_through_a_reload() -> None:
    async def main() -> None:
        async with running() as site:
            op = site.operator
            assert (await op.change_server("app", "s1", state=ServerState.DRAIN, weight=7)).ok
            assert (await op.add_server("app", at(9), name="more")).ok
            site.source.now = Report(spec(server(1), server(2, weight=3)))
            assert reloaded(await op.reload()) == ["~ server app/s2 at 10.0.0.2:80: weight 1 -> 3"]
            assert site.names == ["s1", "s2", "more"]
            assert (site.weight(1), site.flags(1), site.weight(2)) == (7, DRAIN, 3)
            # the file says something else of it now, and wins
            site.source.now = Report(spec(server(1, weight=2), server(2, weight=3)))
            await op.reload()
            assert (site.weight(1), site.flags(1)) == (2, DRAIN)

    run(main())


def test_a_difference_is_told_and_nothing_changes() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(1)))
            answer = await site.operator.diff()
            assert reloaded(answer) == ["- server app/s2 at 10.0.0.2:80"] and answer.text == "1 difference"
            assert str((await site.operator.diff("6", "y.toml")).differences[0]).endswith("weight 1 -> 6")
            wrong = await site.operator.diff("nonsense", "y.toml")
            assert wrong.verdict is WRONG and wrong.problems[0].file == "y.toml"
            assert site.crew.applied == [] and site.names == ["s1", "s2"]

    run(main())


def test_without_a_file_there_is_nothing_to_read() -> None:
    async def main() -> None:
        async with running() as site:
            lonely = Operator(site.service, site.crew, FILE)
            assert {(await lonely.reload()).verdict, (await lonely.diff()).verdict} == {REFUSED}
            for seconds in (-1.0, 86401.0):
                assert (await site.operator.reload(confirm=seconds)).verdict is WRONG

    run(main())


# ---- confirm and revert


def test_a_reload_that_is_not_confirmed_goes_back_by_itself() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(1, weight=5)))
            answer = await site.operator.reload(confirm=0.05)
            assert answer.confirm_within == 0.05 and "comes back in 0.05 s" in answer.text
            assert site.names == ["s1"] and site.weight() == 5
            seen = site.service.events.last
            while "was not confirmed" not in site.told():
                assert await site.service.events.wait(seen, 10)
                seen = site.service.events.last
            assert site.service.events.newest(1)[0].level == "warning"
            assert site.names == ["s1", "s2"] and site.weight() == 1
            assert site.operator.configured() is FILE
            assert (await site.operator.confirm()).verdict is REFUSED

    run(main())


def test_confirmed_it_stays() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(1)))
            await site.operator.reload(confirm=3600)
            answer = await site.operator.confirm()
            assert answer.ok and answer.text == "configuration 2 stays"
            assert site.names == ["s1"]
            assert {(await site.operator.confirm()).verdict, (await site.operator.revert()).verdict} == {REFUSED}

    run(main())


def test_reverted_at_once() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(1)))
            await site.operator.reload(confirm=3600)
            answer = await site.operator.revert()
            assert answer.ok and answer.text == "the reload is undone: the configuration before is back, as 3"
            assert site.names == ["s1", "s2"] and site.told() == answer.text
            assert (await site.operator.revert()).verdict is REFUSED

    run(main())


def test_several_unconfirmed_reloads_lead_back_to_before_the_first() -> None:
    async def main() -> None:
        async with running() as site:
            for number in (3, 4):
                site.source.now = Report(spec(server(number)))
                await site.operator.reload(confirm=3600)
            await site.operator.revert()
            assert site.names == ["s1", "s2"]
            # a last one that needs no word ends the waiting
            await site.operator.reload(confirm=3600)
            site.source.now = Report(spec(server(5)))
            await site.operator.reload()
            assert (await site.operator.revert()).verdict is REFUSED and site.names == ["s5"]

    run(main())


def test_a_wrong_reload_in_between_leaves_the_waiting_one_as_it_is() -> None:
    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(3)))
            await site.operator.reload(confirm=3600)
            site.source.now = broken()
            assert (await site.operator.reload()).verdict is WRONG
            assert (await site.operator.revert()).ok and site.names == ["s1", "s2"]

    run(main())


def test_the_end_of_one_wait_is_not_taken_for_that_of_the_next() -> None:
    """The time of a reload is over while the next one is being carried out."""

    async def main() -> None:
        async with running() as site:
            site.source.now = Report(spec(server(3)))
            await site.operator.reload(confirm=0.05)
            site.source.now = Report(spec(server(4)))
            site.crew.go.clear()
            second = asyncio.create_task(site.operator.reload(confirm=3600))
            while not site.operator._tasks:  # the revert of the first one waits its turn
                await asyncio.sleep(0.01)
            site.crew.go.set()
            await second
            await asyncio.gather(*site.operator._tasks)
            assert site.names == ["s4"]
            await site.operator.revert()
            assert site.names == ["s1", "s2"]

    run(main())


def test_changes_of_servers_come_back_with_the_configuration() -> None:
    async def main() -> None:
        async with running() as site:
            op = site.operator
            await op.set_weight("app", "s1", 7)
            site.source.now = Report(spec(server(1, weight=3), server(2)))
            await op.reload(confirm=3600)
            assert site.weight() == 3  # the file's new value
            await op.revert()
            assert site.weight() == 7  # what was set before the reload
            # what was set while it waited was meant, and stays
            await op.reload(confirm=3600)
            await op.set_state("app", "s2", ServerState.MAINT)
            await op.revert()
            assert site.flags(2) == MAINT

    run(main())


# ---- servers


def test_values_are_seen_by_the_workers_at_once() -> None:
    async def main() -> None:
        async with running() as site:
            op = site.operator
            answer = await op.change_server(
                "app", "10.0.0.1:80", weight=9, max_connections=4, state=ServerState.DRAIN, reason="why"
            )
            assert answer.text == "server app/s1: weight 1 is now 9, max_connections 0 is now 4, set to drain: why"
            assert (site.weight(), site.service.region.limit(site.index(1)), site.flags()) == (9, 4, DRAIN)
            assert site.crew.applied == []  # no new configuration for that
            assert (await op.set_state("app", "s1", ServerState.MAINT)).ok and site.flags() == MAINT
            assert (await op.set_state("app", "s1", ServerState.READY)).ok and site.flags() == 0
            assert (await op.set_limit("app", "s1", 0)).ok
            assert (await op.set_weight("app", "s1", 9)).text == "server app/s1: nothing changed"
            (change,) = op.changes()
            assert (change.weight, change.max_connections, change.state, change.reason) == (9, None, None, "why")

    run(main())


def test_added_changed_removed_forgotten() -> None:
    async def main() -> None:
        async with running() as site:
            op = site.operator
            assert (await op.add_server("app", at(3), weight=4, state=ServerState.DRAIN, reason="more")).text == (
                "server app/10.0.0.3:80 at 10.0.0.3:80 is added: more"
            )
            assert site.names == ["s1", "s2", "10.0.0.3:80"] and (site.weight(3), site.flags(3)) == (4, DRAIN)
            assert (await op.remove_server("app", "10.0.0.3:80")).ok
            assert site.names == ["s1", "s2"] and op.changes() == ()
            # one of the file: out, in again by adding, out, in again by forgetting
            assert (await op.remove_server("app", "s1", "old")).text == "server app/s1 is removed: old"
            assert site.names == ["s2"] and op.changes()[0].removed
            assert (await op.add_server("app", at(1), weight=6)).ok
            assert site.names == ["s1", "s2"] and site.weight() == 6
            await op.remove_server("app", "s1")
            assert (await op.forget("app", "s1")).ok
            assert site.names == ["s1", "s2"] and site.weight() == 1 and op.changes() == ()
            assert "as the configuration has it" in (await op.forget("app", "s1")).text

    run(main())


@pytest.mark.parametrize(
    ("name", "arguments", "options", "verdict", "text"),
    [
        ("set_weight", ("app", "s9", 1), {}, UNKNOWN, "backend app has no server s9; it has s1, s2"),
        ("set_weight", ("nope", "s1", 1), {}, UNKNOWN, "there is no backend nope; there are app"),
        ("remove_server", ("app", "s9"), {}, UNKNOWN, "no server s9"),
        ("forget", ("app", "s9"), {}, UNKNOWN, "no server s9"),
        ("add_server", ("nope", at(9)), {}, UNKNOWN, "no backend nope"),
        ("add_server", ("app", at(1)), {}, REFUSED, "has a server at 10.0.0.1:80 already"),
        ("add_server", ("app", at(9)), {"name": "s1"}, REFUSED, "has a server called s1 already"),
        ("add_server", ("app", at(9)), {"weight": 65536}, WRONG, "must be from 0 to 65535"),
        ("add_server", ("app", at(9)), {"backup": True, "tier": 2}, WRONG, "a backup stands in no tier"),
        ("set_weight", ("app", "s1", -1), {}, WRONG, "must be from 0 to 65535"),
        ("set_limit", ("app", "s1", 2**31), {}, WRONG, "must be from 0 to 2147483647"),
        ("set_weight", ("app", "s1", 1), {"reason": "a\nb"}, WRONG, "must be one line"),
        ("remove_server", ("app", "s1"), {"reason": "x" * 201}, WRONG, "at most 200"),
        ("save_overlay", (), {}, REFUSED, "there is no overlay file"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], verdict: Verdict, text: str
) -> None:
    async def main() -> None:
        async with running() as site:
            before = site.service.spec
            answer = await getattr(site.operator, name)(*arguments, **options)
            assert answer.verdict is verdict and text in answer.text
            assert site.service.spec is before and site.operator.changes() == () and site.crew.applied == []

    run(main())


# ---- the overlay


def test_what_is_saved_is_what_the_next_start_has(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "overlay.toml")
        file = spec(overlay=path)
        async with running(file) as site:
            op = site.operator
            await op.change_server("app", "s1", state=ServerState.DRAIN, weight=7, reason='slow "disk"')
            await op.add_server("app", at(3), name="more", backup=True)
            await op.remove_server("app", "s2")
            answer = await op.save_overlay()
            assert answer.text == f"3 changes of servers written to {path}" and answer.changes == op.changes()
            before = site.service.spec.backends
        changes, problems = read_overlay(path)
        assert problems == []
        from fastlb.control.changes import Changes

        again = replace(file, changes=tuple(changes))
        assert Changes(again.changes).over(again).backends == tuple(
            replace(b, servers=tuple(replace(s, resolved=()) for s in b.servers)) for b in before
        )

    run(main())


def test_an_overlay_that_cannot_be_written(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(spec(overlay=str(tmp_path / "none" / "o.toml"))) as site:
            answer = await site.operator.save_overlay()
            assert answer.verdict is REFUSED and "cannot be written: No such file" in answer.text

    run(main())


def test_actions_come_one_after_the_other() -> None:
    async def main() -> None:
        async with running() as site:
            await asyncio.gather(*(site.operator.add_server("app", at(n)) for n in range(10, 30)))
            assert len(site.names) == 22 and site.service.assignment.generation == 21
            generations = [len(one.backends[0].servers) for one in site.crew.applied]
            assert generations == list(range(3, 23))

    run(main())
