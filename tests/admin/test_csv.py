"""HAProxy's CSV: its columns beside those of a real HAProxy, and what a reader like Telegraf makes of it."""

from __future__ import annotations

import asyncio
import csv
import io
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastlb.admin.csv_stats import COLUMNS
from fastlb.control import counters as c
from fastlb.control.region import DRAIN, MAINT, UP
from fastlb.health.verdict import Verdict, Word
from fastlb.runtime.extras import AgentStatus, CheckStatus
from fastlb.spec import HealthCheck
from tests.admin.conftest import Origins, Start
from tests.admin.inside import inside, make_backend, make_spec
from tests.helpers import Program, free_port, need, wait_until

NUMBERS = {
    "qcur", "qmax", "scur", "smax", "slim", "stot", "bin", "bout", "dreq", "dresp", "ereq", "econ", "eresp",
    "wretr", "wredis", "weight", "act", "bck", "chkfail", "chkdown", "lastchg", "downtime", "qlimit", "pid",
    "iid", "sid", "throttle", "lbtot", "type", "rate", "rate_lim", "rate_max", "check_code", "check_duration",
    "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other", "req_rate", "req_rate_max",
    "req_tot", "cli_abrt", "srv_abrt", "lastsess", "qtime", "ctime", "rtime", "ttime",
}  # fmt: skip


@dataclass
class Point:
    """One measurement: tags and fields."""

    tags: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


def telegraf(text: str) -> list[Point]:
    """As the documentation of Telegraf's haproxy input describes it.

    A header behind "# ", a measurement a line with the tags proxy, sv and type, empty values left out, known numbers
    whole ones.
    """
    assert text.startswith("# ")
    rows = csv.reader(io.StringIO(text[2:]))
    names = next(rows)
    found = []
    for row in rows:
        assert len(row) == len(names), row
        point = Point()
        for name, cell in zip(names, row, strict=True):
            if not cell:
                continue
            if name in ("pxname", "svname"):
                point.tags[{"pxname": "proxy", "svname": "sv"}[name]] = cell
            elif name == "type":
                point.tags["type"] = ["frontend", "backend", "server", "listener"][int(cell)]
            else:
                point.fields[name] = int(cell) if name in NUMBERS else cell
        found.append(point)
    return found


def test_the_columns_are_haproxys(start: Callable[..., Program], tmp_path: Path) -> None:
    """Whatever version is installed, its columns stand in the same order; newer versions have only added some."""
    haproxy = need("haproxy")
    port = free_port()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n stats enable\n stats uri /stats\n default_backend b\n"
        "backend b\n server s 127.0.0.1:1\n"
    )
    start([haproxy, "-f", config, "-db"]).wait_port(("127.0.0.1", port))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats;csv") as answer:
        text = answer.read().decode()
    theirs = text.splitlines()[0].removeprefix("# ").rstrip(",").split(",")
    theirs = theirs[: theirs.index("-")] if "-" in theirs else theirs
    assert list(COLUMNS[: len(theirs)]) == theirs
    assert len(theirs) > 90
    assert {point.tags["sv"] for point in telegraf(text)} == {"FRONTEND", "BACKEND", "s"}  # the reader reads theirs too


def test_all_columns_by_number() -> None:
    assert len(COLUMNS) == len(set(COLUMNS)) == 119
    spots = {0: "pxname", 17: "status", 36: "check_status", 58: "qtime", 73: "addr", 83: "wrew", 99: "uweight"}
    spots |= {89: "src_ilim", 101: "agg_server_check_status", 105: "h1sess", 118: "cache_hint_hits"}
    assert {number: COLUMNS[number] for number in spots} == spots


def test_a_reader_finds_the_figures(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(
        *origins.servers,
        {"name": "gone", "address": f"127.0.0.1:{free_port()}", "backup": True},
        backend={"health_check": {"path": "/health", "interval": "100ms", "fall": 1}, "max_connections": 50},
    )
    wait_until(lambda: lb.api.get("/v1/backends/app")["servers"]["DOWN"] == 1, what="the server that is not there")
    assert [lb.request(target) for target in ("/", "/", "/status/404", "/status/500")] == [200, 200, 404, 500]
    lb.settled(4)
    for target in ("/stats;csv", "/stats?csv", "/;csv", "/?csv", "/haproxy?stats;csv", "/stats;csv?norefresh"):
        points = {(p.tags["proxy"], p.tags["sv"]): p for p in telegraf(lb.api.text(target))}
        assert list(points) == [("web", "FRONTEND"), ("app", "s1"), ("app", "s2"), ("app", "gone"), ("app", "BACKEND")]
    answer = lb.api.ask("/stats;csv")
    assert answer.fields["content-type"] == "text/plain; charset=utf-8"
    front, back, gone = (points[key].fields for key in (("web", "FRONTEND"), ("app", "BACKEND"), ("app", "gone")))
    assert (front["stot"], front["req_tot"], front["hrsp_2xx"], front["hrsp_4xx"], front["status"]) == (
        4,
        4,
        2,
        1,
        "OPEN",
    )
    assert (back["stot"], back["lbtot"], back["hrsp_5xx"], back["act"], back["status"]) == (4, 4, 1, 2, "UP")
    assert (back["bck"], back["slim"], back["algo"], back["weight"]) == (0, 150, "random", 2)
    servers = [points[("app", name)].fields for name in ("s1", "s2")]
    assert sum(s["hrsp_2xx"] for s in servers) == 2
    assert sum(int(s["connect"]) for s in servers) == int(back["connect"])
    assert {s["check_status"] for s in servers} == {"L7OK"}
    assert (gone["status"], gone["check_status"], gone["chkdown"], gone["bck"]) == ("DOWN", "L4CON", 1, 1)
    assert gone["last_chk"].startswith("L4CON: Connection refused in ")
    assert gone["check_desc"] == "Layer4 connection problem"
    types = [p.tags["type"] for p in points.values()]
    assert types == ["frontend", "server", "server", "server", "backend"]


def test_states_in_haproxys_words() -> None:
    good = Verdict(Word.L7OK, "", 200, 0.0123)
    bad = Verdict(Word.L7STS, 'status 500, "odd"\nline', 500, 0.001)
    states: dict[str, tuple[int, int, int, CheckStatus | None]] = {
        # expected: (set, clear, weight, what the checks know)
        "no check": (0, 0, 1, None),
        "UP": (0, 0, 1, CheckStatus(True, 0, 3, good, 0.0, False)),
        "UP 2/3": (0, 0, 1, CheckStatus(True, 1, 3, bad, 0.0, False)),
        "UP 1/3": (0, 0, 1, CheckStatus(True, 2, 3, bad, 0.0, False)),
        "DOWN": (0, UP, 1, CheckStatus(False, 0, 2, bad, 0.0, False)),
        "DOWN 1/2": (0, UP, 1, CheckStatus(False, 1, 2, good, 0.0, False)),
        "MAINT": (MAINT, 0, 1, CheckStatus(True, 0, 3, good, 0.0, False)),
        "DRAIN": (DRAIN, 0, 1, CheckStatus(True, 0, 3, good, 0.0, False)),
    }

    async def main() -> None:
        backend = make_backend("app", len(states) + 1, health_check=HealthCheck(rise=2, fall=3))
        async with inside(make_spec(backend)) as lb:
            for server, (on, off, weight, status) in zip(backend.servers, states.values(), strict=False):
                index = lb.server("app", server.name)
                lb.service.region.change_state(index, set=on, clear=off)
                lb.service.region.set_weight(index, weight)
                statuses[server.name] = status
            lb.service.region.set_weight(lb.server("app", backend.servers[-1].name), 0)
            lb.service.book.sweep()
            lb.service.monitor.status = lambda name, server: statuses.get(server.name)  # type: ignore[method-assign]
            points = {p.tags["sv"]: p.fields for p in telegraf(await lb.text("/stats;csv"))}
            for server, expected in zip(backend.servers, [*states, "DRAIN"], strict=True):
                assert points[server.name]["status"] == expected
            assert points["s2"]["check_health"] == "3"
            assert points["s5"]["check_health"] == "1"
            assert points["s2"]["check_code"] == 500
            assert points["s1"]["check_duration"] == 12
            assert points["s2"]["last_chk"] == 'L7STS/500: status 500, "odd" line in 1ms'
            assert (points["BACKEND"]["act"], points["BACKEND"]["weight"]) == (4, 4)

    statuses: dict[str, CheckStatus | None] = {}
    asyncio.run(main())


def test_what_agents_say() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 3))) as lb:
            said = {
                "s0": AgentStatus(Verdict(Word.L7OK, "", 0, 0.002, "up 50%"), None, False),
                "s1": AgentStatus(Verdict(Word.L4CON, "Connection refused", 0, 0.0), None, True),
            }
            lb.service.monitor.agent = lambda name, server: said.get(server.name)  # type: ignore[method-assign]
            points = {p.tags["sv"]: p.fields for p in telegraf(await lb.text("/stats;csv"))}
            assert points["s0"]["agent_status"] == "L7OK"
            assert (points["s0"]["agent_duration"], points["s0"]["agent_health"]) == ("2", "1")
            assert (points["s1"]["agent_desc"], points["s1"]["agent_health"]) == ("Layer4 connection problem", "0")
            assert points["s1"]["last_agt"] == "L4CON: Connection refused in 0ms"
            assert "agent_status" not in points["s2"]
            view = await lb.json("/v1/backends/app/servers/s0")
            assert view["agent"] == {"status": "L7OK", "duration": 0.002, "line": "up 50%", "down": False}
            metrics = await lb.text("/metrics?metrics=haproxy_server_agent_status")
            assert 'haproxy_server_agent_status{proxy="app",server="s1",state="L4CON"} 1' in metrics
            assert 'server="s2"' not in metrics
            assert "up 50%" in await lb.text("/stats?backend=app&server=s0")

    asyncio.run(main())


def test_times_are_those_of_the_last_requests() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 1))) as lb:
            region = lb.service.region
            for kind, index in (("group", 0), ("server", 0)):
                for counter, sum_us in (
                    (c.QUEUE_US, 0),
                    (c.CONNECT_US, 4_000),
                    (c.RESPONSE_US, 60_000),
                    (c.TOTAL_US, 80_000),
                ):
                    region.count(0, kind, index, counter, sum_us)
                    region.record(0, kind, index, counter - c.QUEUE_US, sum_us // 2, 2)
                region.count(0, kind, index, c.REQUESTS, 2)
            for sampled in (False, True):
                if sampled:
                    lb.sampler.sample()
                points = {p.tags["sv"]: p.fields for p in telegraf(await lb.text("/stats;csv"))}
                for name in ("s0", "BACKEND"):
                    assert [points[name][f"{t}time"] for t in "qcrt"] == [0, 2, 30, 40]
                    longest = [int(points[name][f"{t}time_max"]) for t in "qcrt"]
                    assert all(low <= got <= low * 1.13 + 1 for low, got in zip([0, 2, 30, 40], longest, strict=True))

    asyncio.run(main())


@pytest.mark.timeout(240)
def test_ten_thousand_servers() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 10_000))) as lb:
            began = time.process_time()
            text = await lb.text("/stats;csv")
            print(f"{time.process_time() - began:.2f} s")
            assert text.count("\n") == 10_003

    asyncio.run(main())
