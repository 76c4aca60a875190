"""What is remembered: rates and latencies by sampling, states with reasons, events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest

from fastlb._core.histogram import BUCKET_BOUNDS, Mark
from fastlb._core.region import Region
from fastlb.admin import sampler as sampler_module
from fastlb.admin.sampler import HISTORY, Pace
from fastlb.control import counters as c
from fastlb.control.events import Events
from fastlb.control.region import DRAIN, EJECTED, MAINT, UP
from fastlb.control.state_book import StateBook
from tests.admin.inside import Inside, inside, make_backend, make_spec


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def begin(region: Region) -> Region:
    region.begin_worker(0)
    region.assign_frontend(0)
    return region


def serve(region: Region, requests: int, us: int = 1000, kind: str = "frontend", index: int = 0) -> None:
    region.count(0, kind, index, c.REQUESTS, requests)  # type: ignore[arg-type]
    region.count(0, kind, index, c.TOTAL_US, requests * us)  # type: ignore[arg-type]
    region.record(0, kind, index, c.TIME_TOTAL, us, requests)  # type: ignore[arg-type]


# ---- quantiles of the shared histograms


def test_quantiles() -> None:
    region = begin(Region.create(False, 1))
    assert region.quantiles("frontend", 0, 3, (0.5, 1.0)) == (0, [0.0, 0.0])
    for us in range(1, 1001):
        region.record(0, "frontend", 0, 3, us)
    n, found = region.quantiles("frontend", 0, 3, (0.1, 0.5, 0.9, 0.99))
    assert n == 1000
    for share, got in zip((0.1, 0.5, 0.9, 0.99), found, strict=True):
        assert abs(got - share * 1000) <= share * 1000 / 8
    assert found == sorted(found)


@pytest.mark.parametrize("us", [0, 1, 7, 8, 9, 100, 12_345, 2**27 - 1, 2**40])
def test_one_duration_is_within_its_bucket(us: int) -> None:
    region = begin(Region.create(False, 1))
    region.record(0, "frontend", 0, 3, us)
    _, (low, high) = region.quantiles("frontend", 0, 3, (0.0, 1.0))
    bucket = min(us, BUCKET_BOUNDS[-1] - 1)
    assert low <= bucket <= high <= bucket * 1.125 + 1
    if us < 8:
        assert low == high == us


def test_quantiles_since_a_mark() -> None:
    region, mark = begin(Region.create(False, 1)), Mark()
    region.record(0, "frontend", 0, 3, 1_000_000, 50)
    assert region.quantiles("frontend", 0, 3, (), None, mark)[0] == 50
    assert region.quantiles("frontend", 0, 3, (0.5,), mark) == (0, [0.0])
    region.record(0, "frontend", 0, 3, 5, 3)
    assert region.quantiles("frontend", 0, 3, (0.5, 1.0), mark, mark) == (3, [5.0, 5.0])
    assert region.quantiles("frontend", 0, 3, (0.5,), mark) == (0, [0.0])
    region.assign_frontend(0)  # given to a new holder: its histogram is empty
    region.record(0, "frontend", 0, 3, 6)
    assert region.quantiles("frontend", 0, 3, (1.0,), mark) == (1, [6.0])


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_that_are_none(share: float) -> None:
    region = begin(Region.create(False, 1))
    region.record(0, "frontend", 0, 3, 5)
    with pytest.raises(ValueError, match="share"):
        region.quantiles("frontend", 0, 3, (share,))


@pytest.mark.parametrize("edges", [(8, 4), (-1,), (201,)])
def test_edges_that_are_none(edges: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="edges"):
        begin(Region.create(False, 1)).ladder("frontend", 0, 3, edges)


# ---- sampling


def test_rates_and_their_maxima() -> None:
    region = begin(Region.create(False, 1))
    serve(region, 77)  # before anybody looked: no rate
    pace = Pace("frontend", 0, "web", 0.0)
    pace.take(region, 0.0, 0.0)
    assert (pace.rate, pace.rate_max, pace.used_at) == (0.0, 0.0, 0.0)
    for second, requests in enumerate((10, 30, 0, 5), start=1):
        serve(region, requests)
        region.count(0, "frontend", 0, c.CONNECTIONS, requests // 5)
        pace.take(region, float(second), 5000.0 + second)
    assert (pace.rate, pace.rate_max, pace.conn_rate, pace.conn_rate_max) == (5.0, 30.0, 1.0, 6.0)
    assert pace.used_at == 5004.0
    rates, p99s = pace.history()
    assert rates == [0, 10, 30, 0, 5]
    assert [p99 > 0 for p99 in p99s] == [False, True, True, False, True]
    serve(region, 100)
    pace.take(region, 8.0, 0.0)  # the loop stood still for four seconds
    assert pace.rate == 25.0


def test_history_is_bounded() -> None:
    region = begin(Region.create(False, 1))
    pace = Pace("frontend", 0, "web", 0.0)
    for second in range(300):
        serve(region, 1 if second < 299 else 9)
        pace.take(region, float(second), 0.0)
    rates, p99s = pace.history()
    assert len(rates) == len(p99s) == HISTORY
    assert rates == [1.0] * (HISTORY - 1) + [9.0]


def test_recent_latencies_forget() -> None:
    region = begin(Region.create(False, 1))
    pace = Pace("frontend", 0, "web", 0.0)
    pace.take(region, 0.0, 0.0)
    serve(region, 10, 900_000)
    for second in range(1, 31):
        pace.take(region, float(second), 0.0)
    n, (p50,) = pace.recent(region, (0.5,))
    assert (n, p50 > 800_000) == (10, True)
    serve(region, 4, 1_000)
    for second in range(31, 61):
        pace.take(region, float(second), 0.0)
    n, (p50,) = pace.recent(region, (0.5,))
    assert (n, p50 < 1_200) == (4, True)
    for second in range(61, 91):
        pace.take(region, float(second), 0.0)
    assert pace.recent(region, (0.5,))[0] == 0


def test_average_of_the_last_1024() -> None:
    region = begin(Region.create(False, 1))
    pace = Pace("frontend", 0, "web", 0.0)
    pace.take(region, 0.0, 0.0)
    serve(region, 100, 1_000)
    pace.take(region, 1.0, 0.0)
    serve(region, 100, 3_000)
    pace.take(region, 2.0, 0.0)
    assert pace.means[3] == pytest.approx(2_000)  # up to 1024 requests the plain mean
    serve(region, 20_000, 500)
    pace.take(region, 3.0, 0.0)
    assert pace.means[3] == pytest.approx(500, rel=0.001)  # later the old ones are forgotten


def test_an_index_with_a_new_holder_begins_anew() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 1))) as lb:
            serve(lb.service.region, 5)
            lb.sampler.sample()
            old = lb.sampler.pace("frontend", 0)
            assert old is not None
            from fastlb.control.slots import Assignment

            lb.service.assignment = Assignment(9, {"another": 0}, {"app": 0}, lb.service.assignment.servers)
            lb.sampler.sample()
            new = lb.sampler.pace("frontend", 0)
            assert new is not None
            assert (new is old, new.owner, new.samples) == (False, "another", 1)
            kept = lb.sampler.pace("group", 0)
            assert kept is not None
            assert kept.samples == 2

    asyncio.run(main())


def test_many_servers_are_sampled_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "EAGER_SERVERS", 5)
    monkeypatch.setattr(sampler_module, "WATCHED_SERVERS", 3)

    async def main() -> None:
        clock = Clock()
        async with inside(make_spec(make_backend("app", 6)), clock=clock) as lb:
            lb.sampler.sample()
            assert not lb.sampler.every_server
            assert lb.sampler.pace("server", 0) is None
            assert lb.sampler.pace("frontend", 0) is not None
            view = await lb.json("/v1/backends/app/servers/s1?history=1")
            assert view["rates"] is not None
            pace = lb.sampler.pace("server", lb.server("app", "s1"))
            assert pace is not None
            serve(lb.service.region, 7, kind="server", index=pace.index)
            clock.now += 1
            lb.sampler.sample()
            assert (await lb.json("/v1/backends/app/servers/s1?history=1"))["history"]["requests"] == [0.0, 7.0]
            await lb.json("/v1/servers")  # all six are looked at, three are the most
            watched = [i for i in range(6) if lb.sampler.pace("server", i)]
            assert len(watched) == 3
            clock.now += 61
            lb.sampler.sample()
            assert [i for i in range(6) if lb.sampler.pace("server", i)] == []

    asyncio.run(main())


def test_the_sampler_runs_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 1))) as lb:
            calls: list[int] = []
            lb.sampler.start(lambda: calls.append(1))
            pace = lb.sampler.pace("frontend", 0)
            assert pace is not None
            async with asyncio.timeout(30):
                while pace.samples < 2:
                    await asyncio.sleep(0.01)
            lb.sampler.stop()
            assert len(calls) == pace.samples

    asyncio.run(main())


# ---- states


def book_of(lb: Inside, clock: Clock) -> tuple[StateBook, Events]:
    events = Events(clock=clock)
    book = StateBook(lb.service.region, events, clock=clock)
    book.apply(lb.service.spec, lb.service.assignment)
    return book, events


def test_states_have_reasons_and_dates() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2))) as lb:
            clock = Clock()
            book, events = book_of(lb, clock)
            region, (one, two) = lb.service.region, lb.service.spec.backends[0].servers
            standing = book.server("app", one)
            assert (standing.state, standing.since, standing.turned, standing.downs) == ("UP", 1000.0, 0.0, 0)

            clock.now = 1010.0
            region.change_state(lb.server("app", "s0"), clear=UP)
            book.note("app", one, "tripped over a cable")
            assert (standing.state, standing.since, standing.reason) == ("DOWN", 1010.0, "tripped over a cable")
            book.note("app", one, "again")  # no change, no event
            assert (standing.reason, events.last) == ("tripped over a cable", 1)

            clock.now = 1013.0
            region.change_state(lb.server("app", "s1"), set=EJECTED)  # by a worker, without a word
            book.sweep()
            assert book.server("app", two).reason == "taken out by the workers for failing requests"
            assert (book.backend("app").state, book.backend("app").downs) == ("DOWN", 1)
            texts = [(e.kind, e.subject, e.old, e.new, e.level) for e in events.after(0)]
            assert texts == [
                ("server", "app/s0", "UP", "DOWN", "warning"),
                ("server", "app/s1", "UP", "EJECTED", "warning"),
                ("backend", "app", "UP", "DOWN", "error"),
                ("backend", "app", "", "", "error"),  # panic
            ]
            assert (standing.downtime(1013.0), book.backend("app").downtime(1014.5)) == (3.0, 1.5)

            clock.now = 1020.0
            region.change_state(lb.server("app", "s0"), set=UP | MAINT)
            book.note("app", one, "an operator")
            assert (standing.state, standing.downs, standing.downtime(2000.0)) == ("MAINT", 1, 10.0)
            region.change_state(lb.server("app", "s0"), set=DRAIN, clear=MAINT)
            book.note("app", one, "an operator")
            region.change_state(lb.server("app", "s0"), clear=DRAIN)
            clock.now = 1030.0
            book.note("app", one, "an operator")
            assert (book.backend("app").state, book.backend("app").downtime(9999.0)) == ("UP", 17.0)
            assert book.backend("app").reason == "has a server again: an operator"
            over, back = events.newest(2)
            assert (back.new, over.text) == ("UP", "panic is over: 1 of 2 servers are well")

    asyncio.run(main())


def test_panic_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 4))) as lb:
            book, events = book_of(lb, Clock())
            servers = [lb.server("app", f"s{n}") for n in range(4)]
            for index in servers[:2]:
                lb.service.region.change_state(index, clear=UP)
            book.sweep()
            assert not book.panic("app")
            lb.service.region.change_state(servers[2], set=EJECTED)
            book.sweep()
            assert book.panic("app")
            begun = events.newest(1)[0]
            assert (begun.subject, begun.level) == ("app", "error")
            assert begun.text == "panic: only 1 of 4 servers are well, so requests go to all of them"
            assert f"backend app is in {begun.text}" in caplog.text
            lb.service.region.change_state(servers[2], clear=EJECTED)
            book.sweep()
            assert not book.panic("app")
            over = events.newest(1)[0]
            assert (over.text, over.level) == ("panic is over: 2 of 4 servers are well", "info")
            assert f"backend app: {over.text}" in caplog.text
            book.sweep()
            assert events.newest(1)[0] is over

    with caplog.at_level("INFO"):
        asyncio.run(main())


def test_load_that_spills_is_an_event() -> None:
    async def main() -> None:
        near, far = make_backend("app", 2), make_backend("app", 4).servers[2:]
        spec = make_spec(replace(near, servers=near.servers + tuple(replace(s, tier=1) for s in far)))
        async with inside(spec) as lb:
            book, events = book_of(lb, Clock())
            assert book.loads("app") == {0: 100}
            lb.service.region.change_state(lb.server("app", "s0"), clear=UP)
            book.sweep()
            assert book.loads("app") == {0: 70, 1: 30}
            assert events.newest(1)[0].text == "requests go to tier 0: 70 %, tier 1: 30 %"
            lb.service.region.change_state(lb.server("app", "s0"), set=UP)
            book.sweep()
            assert (events.newest(1)[0].text, events.newest(1)[0].level) == ("requests go to tier 0: 100 %", "info")

    asyncio.run(main())


def test_a_new_configuration_keeps_what_stays() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 2))) as lb:
            clock = Clock()
            book, events = book_of(lb, clock)
            one, two = lb.service.spec.backends[0].servers
            lb.service.region.change_state(lb.server("app", "s0"), clear=UP)
            book.note("app", one, "because")
            clock.now = 2000.0
            book.apply(lb.service.spec, lb.service.assignment)
            assert (book.server("app", one).since, book.server("app", one).reason) == (1000.0, "because")
            assert book.backend("app").since == 1000.0
            import dataclasses

            smaller = dataclasses.replace(lb.service.spec.backends[0], servers=(two,))
            book.apply(dataclasses.replace(lb.service.spec, backends=(smaller,)), lb.service.assignment)
            with pytest.raises(KeyError):
                book.server("app", one)
            assert events.last == 1

    asyncio.run(main())


# ---- events


def test_events_are_numbered_and_bounded() -> None:
    events = Events(3, clock=Clock(5.0))
    assert (events.after(0), events.newest(9), events.last) == ([], [], 0)
    for n in range(5):
        events.add("process", "", f"event {n}")
    assert [e.seq for e in events.after(0)] == [3, 4, 5]
    assert [e.seq for e in events.after(4)] == [5]
    assert [e.seq for e in events.after(0, 2)] == [3, 4]
    assert events.after(5) == events.after(99) == []
    assert [e.seq for e in events.newest(2)] == [5, 4]
    assert events.after(4)[0].at == 5.0


def test_waiting_for_events() -> None:
    async def main() -> None:
        events = Events()
        events.add("process", "", "first")
        assert await events.wait(0, 60)  # there is one already
        waiting = [asyncio.create_task(events.wait(1, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        events.add("process", "", "second")
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await events.wait(2, 0.001)  # nothing came, and it is still open
        late = asyncio.create_task(events.wait(2, 60))
        await asyncio.sleep(0)
        events.close()
        assert not await late
        assert not await events.wait(2, 60)

    asyncio.run(main())
