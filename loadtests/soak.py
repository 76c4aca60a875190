"""The soak test: an hour of steady traffic, while memory, descriptors and counters are watched.

`python -m loadtests soak --duration 3600`. What drifts is reported: the mean of the last third beside that of
the first third of the time, without the warm-up. Exit status 1 when memory, descriptors or what is open and in flight
grew, or counters of it do not return to nothing, or the balancer counted other requests than were made, or one failed.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fastlb.bench import page, svg
from fastlb.bench.machine import machine
from fastlb.bench.process import memory, tree
from loadtests.campaign import END, Locust, Options
from loadtests.peers import Fastlb
from loadtests.scenarios import SCENARIOS
from loadtests.stage import Servers

WARM = 0.15  # share of the time before what is counted: pools and allocators fill
GROWTH_MB = 4.0  # what may come on top of GROWTH of the first third
GROWTH = 0.05
DESCRIPTORS = 8  # connections come and go: their mean may differ by so many
IN_FLIGHT = 2.0  # the same of requests


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the balancer's processes."""

    at: float
    private_mb: float
    descriptors: int
    connections: int = 0  # of clients, as the balancer counts them
    in_flight: int = 0


def descriptors(pids: list[int]) -> int:
    """Open descriptors of these processes."""
    total = 0
    for pid in pids:
        try:
            total += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except FileNotFoundError:
            continue  # it ended meanwhile
    return total


def drift(looks: list[Look], seconds: float, what: str) -> tuple[float, float]:
    """Mean of the first third after the warm-up, and of the last third."""
    span = seconds * (1 - WARM) / 3
    first = [getattr(x, what) for x in looks if seconds * WARM <= x.at < seconds * WARM + span]
    last = [getattr(x, what) for x in looks if seconds - span <= x.at < seconds]
    if not first or not last:
        raise ValueError("too few looks to tell a drift")
    return statistics.fmean(first), statistics.fmean(last)


def judge(looks: list[Look], seconds: float) -> list[tuple[str, str, bool]]:
    """What was watched, in words, and whether it stayed flat."""
    before, after = drift(looks, seconds, "private_mb")
    memory_flat = after <= before * (1 + GROWTH) + GROWTH_MB
    opened, still = drift(looks, seconds, "descriptors")
    return [
        ("private memory", f"{before:.1f} MB, then {after:.1f} MB ({after - before:+.2f})", memory_flat),
        ("descriptors", f"{opened:.0f}, then {still:.0f} ({still - opened:+.1f})", still <= opened + DESCRIPTORS),
        *(
            _steady(looks, seconds, what, most)
            for what, most in (("connections", DESCRIPTORS), ("in_flight", IN_FLIGHT))
        ),
    ]


def _steady(looks: list[Look], seconds: float, what: str, most: float) -> tuple[str, str, bool]:
    """A counter that may go up and down but not away by more than `most`."""
    before, after = drift(looks, seconds, what)
    told = f"{before:.1f}, then {after:.1f} ({after - before:+.2f})"
    return f"{what.replace('_', ' ')}, as counted", told, after <= before + most


def ask(folder: Path, path: str) -> Any:
    """The admin socket's answer."""
    connection = http.client.HTTPConnection("fastlb", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(f"{folder}/admin.sock")
    connection.request("GET", path)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def counted(folder: Path) -> tuple[int, int, int]:
    """Client connections open, requests in flight, and all requests so far, by the frontend's counters."""
    web = ask(folder, "/v1/frontends")["frontends"][0]
    return int(web["connections"]), int(web["in_flight"]), int(web["counters"]["requests"])


def left_over(folder: Path, patience: float = 10.0) -> int:
    """Connections and requests that the counters still hold after the load went; waits for the last to end."""
    deadline = time.monotonic() + patience
    while True:
        left = sum(int(s["in_flight"]) for s in ask(folder, "/v1/backends/origin/servers")["servers"])
        left += sum(counted(folder)[:2])
        if left == 0 or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def run(seconds: int, users: int, options: Options, out: Path) -> int:
    """Runs it; writes soak.html and soak.json; returns the exit status."""
    scenario = SCENARIOS["soak"]
    looks: list[Look] = []
    with tempfile.TemporaryDirectory(prefix="fastlb-soak-") as name:
        folder = Path(name)
        servers = Servers(scenario.pool, folder, options.seed)
        peer = Fastlb(scenario.pool, servers.ports, folder)
        locust: Locust | None = None
        try:
            servers.start_all()
            peer.start()
            assert peer.child is not None
            plan = {"points": scenario.points(seconds, users), "users": scenario.users, "goal": scenario.goal}
            locust = Locust(f"http://127.0.0.1:{peer.port}", dict(plan), folder / "out.json", options)
            locust.await_start()
            pause = max(0.2, seconds / 600)
            while not locust.ended.wait(pause) and time.time() - locust.began < seconds:
                pids = tree(peer.child.pid)
                used = memory(pids).private / 1e6, descriptors(pids)
                looks.append(Look(time.time() - locust.began, *used, *counted(folder)[:2]))
            locust.await_end(END)
            left = left_over(folder)
            balanced = counted(folder)[2]
            written = json.loads((folder / "out.json").read_text())["seconds"]
            requests = sum(s["requests"] for s in written.values())
            errors = sum(sum(s["errors"].values()) for s in written.values())
            ended = peer.child.ended()
        finally:
            if locust is not None:
                locust.stop()
            peer.stop()
            servers.stop_all()
    facts = judge(looks, seconds)
    facts.append(("open or in flight after the load", str(left), left == 0))
    # A user who goes home may leave one answer unread: the balancer counts it, Locust does not
    told = f"{balanced}, made {requests}"
    facts.append(("requests that the balancer counted", told, requests <= balanced <= requests + users))
    facts.append(("requests that failed", f"{errors} of {requests}", errors == 0 and requests > 0))
    facts.append(("the balancer ran on", "no" if ended else "yes", not ended))
    for what, told, held in facts:
        print(f"  {'held  ' if held else 'MISSED'}  {what}: {told}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    saved = {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "machine": {**machine(), "fastlb": peer.version()},
        "seconds": seconds,
        "users": users,
        "facts": facts,
        "looks": [[x.at, x.private_mb, x.descriptors, x.connections, x.in_flight] for x in looks],
    }
    (out / "soak.json").write_text(json.dumps(saved))
    (out / "soak.html").write_text(html(looks, saved, facts))
    return 0 if all(held for _, _, held in facts) else 1


def html(looks: list[Look], saved: dict[str, Any], facts: list[tuple[str, str, bool]]) -> str:
    """The page: what was watched over time, and where."""
    axes = {"x_label": "seconds", "x_max": float(saved["seconds"])}
    watched = [
        ("Private memory of all processes", "MB", "private_mb"),
        ("Open descriptors", "", "descriptors"),
        ("Client connections, as counted", "", "connections"),
        ("Requests in flight, as counted", "", "in_flight"),
    ]
    charts = [
        svg.line_chart(
            svg.Axes(title, y_label=unit, **axes),  # type: ignore[arg-type]
            [svg.Line(title, [(x.at, float(getattr(x, what))) for x in looks], i)],
        )
        for i, (title, unit, what) in enumerate(watched)
    ]
    rows = [[what, told, f'<span class="{"good" if held else "bad"}">{"held" if held else "missed"}</span>']
            for what, told, held in facts]  # fmt: skip
    parts = [page.table(["watched", "first third, last third", ""], rows)]
    about = f"{saved['seconds']} s with {saved['users']} users, {saved['when']}. "
    parts += [f"<p>{escape(about)}</p>", page.facts(saved["machine"])]
    return page.document("Soak", [*parts, '<div class="charts">', *(f"<div>{c}</div>" for c in charts), "</div>"])
