"""The parts that a campaign's figures and verdicts are made of, without Locust."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from loadtests import campaign, report, runs
from loadtests.__main__ import arguments
from loadtests.criteria import errors_at_most, evenly_spread, latency_at_most, marks_at_least, rate_at_least
from loadtests.model import steps, users_at
from loadtests.origin import Connection, Shop
from loadtests.peers import HAProxy
from loadtests.scenarios import SCENARIOS
from loadtests.timeline import Outcome, Second, Usage, bucket, latency_of, percentile
from tests.helpers import ROOT, free_port, need


@pytest.mark.parametrize("seconds", [0.0, 1e-5, 0.0004, 0.013, 1.0, 59.0])
def test_buckets_hold_latencies_within_four_percent(seconds: float) -> None:
    assert seconds <= latency_of(bucket(seconds)) * 1.000001
    assert latency_of(bucket(seconds)) <= max(seconds, 1e-5) * 1.0401


def test_percentiles_are_those_of_the_values() -> None:
    values = [i / 1000 for i in range(1, 1001)]
    histogram = Counter(bucket(v) for v in values)
    for share in (0.5, 0.95, 0.99, 1.0):
        exact = values[math.ceil(share * 1000) - 1]
        assert exact <= percentile(histogram, share) <= exact * 1.0401
    assert math.isnan(percentile({}, 0.5))


def test_users_follow_the_shape() -> None:
    points = [(0.0, 10.0), (10.0, 10.0), (10.0, 50.0), (20.0, 0.0)]
    assert [users_at(points, t) for t in (0, 9.9, 10, 15, 20, 30)] == [10, 10, 50, 25, 1, 1]
    assert [users_at([(x * 50, y * 50) for x, y in steps(5)], t) for t in (0, 15, 49)] == [10, 20, 50]


def second(ok: int, server: str = "s1", slow: float = 0.01, **errors: int) -> Second:
    made = Second(requests=ok + sum(errors.values()), good=ok, errors=Counter(errors), servers=Counter({server: ok}))
    made.latency[bucket(slow)] += ok
    return made


def outcome(*line: Second) -> Outcome:
    return Outcome("steady_mix", "fastlb", len(line), 10, list(line), usage=[Usage(0.5, 0.3, 20, 0.4, 0.2, 0.5)])


def test_criteria_judge_what_they_say() -> None:
    run = outcome(second(90), second(90, "s2"), second(60, "s1", 0.5, broken=30), second(90, "s2"))
    assert errors_at_most(0.05).judge(run).value == pytest.approx(100 * 30 / 360)
    assert not errors_at_most(0.05).judge(run).held
    assert errors_at_most(0.0, 0.0, 0.5).judge(run).held
    assert latency_at_most(50, 0.02).judge(run).held
    assert not latency_at_most(99, 0.02).judge(run).held
    assert latency_at_most(99, 0.02).judge(run, slack=30).held
    assert not errors_at_most(0.05).judge(run, slack=30).held, "slack widens criteria of time alone"
    assert rate_at_least(0.9, (0.5, 0.75), (0.0, 0.5)).judge(run).value == pytest.approx(100 * 60 / 90)
    assert evenly_spread(0.2).judge(run).value == pytest.approx(100 * 30 / 165)


def test_what_was_not_measured_fulfils_nothing() -> None:
    empty = outcome(Second())
    for criterion in (errors_at_most(0.5), latency_at_most(50, 9.0), marks_at_least("x", 0.1, "a", "b")):
        assert not criterion.judge(empty).held


def test_every_scenario_is_whole() -> None:
    assert len(SCENARIOS) >= 14
    for scenario in SCENARIOS.values():
        assert scenario.criteria, scenario.name
        assert scenario.users, scenario.name
        assert scenario.shape[0][0] == 0.0, scenario.name
        assert scenario.shape[-1][0] == 1.0, scenario.name
        assert all(0 < f.at < 1 for f in scenario.faults), scenario.name
        assert [x for x, _ in scenario.shape] == sorted(x for x, _ in scenario.shape), scenario.name


def made_report() -> report.Report:
    runs = [outcome(second(90), second(80, "s2", 0.02, broken=2)), outcome(second(70), second(80))]
    runs[1].peer = "nginx"
    runs[0].faults = [(0.7, "s1 <killed>")]
    scenario = SCENARIOS["steady_mix"]
    verdicts = {(r.scenario, r.peer): [c.judge(r) for c in scenario.criteria] for r in runs}
    return report.Report("20260101-000000", {"cpu": "x"}, {scenario.name: scenario}, runs, verdicts)


def test_report_tells_of_all_peers_and_faults(tmp_path: Path) -> None:
    text = report.save(made_report(), tmp_path).read_text()
    assert text.count("<svg") == 10
    assert "s1 &lt;killed&gt;" in text
    assert "broken × 2" in text
    assert "http://" not in text.replace("http://127.0.0.1", ""), "the page loads nothing"
    report.save(made_report(), tmp_path)
    assert "2 runs, oldest first" in (tmp_path / "20260101-000000.html").read_text()


def test_report_can_be_read_back() -> None:
    made = made_report()
    again = report.unpack(json.loads(json.dumps(report.pack(made))))
    assert again == made.outcomes


def test_origin_keeps_baskets_to_itself_and_waits_for_slots() -> None:
    async def ask(port: int, path: str, headers: str = "") -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        writer.close()
        return int(head.split()[1]), body

    is_open: set[Connection] = set()

    class Seen(Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            is_open.add(self)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            is_open.discard(self)
            super().connection_lost(exc)

    async def run() -> None:
        shop, port = Shop("s1", {"seconds": 0.0, "slots": 2, "cache": 1}, 1), free_port()
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Seen(shop), "127.0.0.1", port):
            cookie = "Cookie: a=b; cart=c1\r\n"
            assert await ask(port, "/cart/add", cookie) == (200, "1")
            assert await ask(port, "/cart", cookie + "X-Cart-Items: 1\r\n") == (200, "1")
            assert (await ask(port, "/cart", "Cookie: cart=c2\r\nX-Cart-Items: 1\r\n"))[0] == 409
            assert len((await ask(port, "/download/100000"))[1]) == 100000
            assert (await ask(port, "/control?sick=1"))[0] == 200
            assert (await ask(port, "/health"))[0] == 503
            assert (await ask(port, "/control?fail=1"))[0] == 200
            assert (await ask(port, "/"))[0] == 500
            assert (await ask(port, "/control?fail=0"))[0] == 200
            answers = await asyncio.gather(*(ask(port, "/search") for _ in range(12)))
            assert {status for status, _ in answers} == {200}
            assert (shop.working, shop.lookup("k"), shop.lookup("k"), shop.lookup("l"), shop.lookup("k")) == (
                0, False, True, False, False,
            )  # fmt: skip
            while is_open:  # until it has seen that they went
                await asyncio.sleep(0.001)

    asyncio.run(run())


def test_workflow_and_readme_name_real_options() -> None:
    readme = (ROOT / "loadtests" / "README.md").read_text()
    commands = [line.split("#")[0] for line in readme.splitlines() if line.startswith("python -m loadtests")]
    assert len(commands) >= 5
    for command in commands:
        arguments(command.split()[3:])


def test_haproxy_takes_the_configuration_of_every_scenario(tmp_path: Path) -> None:
    program = need("haproxy")
    for scenario in SCENARIOS.values():
        peer = HAProxy(scenario.pool, {f"s{i}": 5000 + i for i in range(1, 5)}, tmp_path)
        peer.file.write_text(peer.configuration())
        done = subprocess.run([program, "-c", "-f", str(peer.file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{scenario.name}: {done.stderr}"


def test_minutes_cut_all_scenarios_alike() -> None:
    scenarios = list(SCENARIOS.values())
    options = arguments(["run", "--minutes", "25"])
    seconds = runs.durations(scenarios, 3, options)
    assert runs.taken(seconds, 3) + runs.LIMITS <= 25 * 60
    assert all(seconds[s.name] >= s.least for s in scenarios)
    assert len({seconds[s.name] for s in scenarios if s.least < runs.SHORTEST}) == 1
    longer = {name: n + 1 for name, n in seconds.items()}
    assert runs.taken(longer, 3) + runs.LIMITS > 25 * 60, "there was room for more"
    assert runs.durations(scenarios, 3, arguments(["run", "--minutes", "600"]))["soak"] == SCENARIOS["soak"].seconds
    assert min(runs.durations(scenarios, 3, arguments(["run", "--minutes", "1"])).values()) == runs.SHORTEST


def test_a_run_is_taken_up_again_as_it_was_begun(tmp_path: Path) -> None:
    kept, made = tmp_path / "new" / "kept", made_report()
    made.plan = {"seconds": {"steady_mix": 2}, "seed": 1}
    report.keep(made, kept)
    fresh = report.Report("20270101-000000", {"cpu": "x"}, made.scenarios, [], {}, plan=made.plan)
    again = report.resumed(kept, fresh, 1.0)
    assert (again.began, again.outcomes, again.verdicts) == (made.began, made.outcomes, made.verdicts)
    fresh.plan = {**made.plan, "seed": 2}
    with pytest.raises(ValueError, match="another seed"):
        report.resumed(kept, fresh, 1.0)


def test_a_run_that_did_not_come_about_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """... and fails, and those after it are run all the same."""

    def fail(*_: object) -> None:
        raise RuntimeError("no locust today")

    monkeypatch.setattr(campaign, "_run", fail)
    options = arguments(["run", "--no-limits", "--peer", "fastlb", "--scenario", "spike,soak", "--out", str(tmp_path)])
    assert runs.run(options) == 1
    saved = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert [run["broken"] for run in saved["runs"]] == [["no locust today"]] * 2
    assert "no locust today" in next(tmp_path.glob("*.html")).read_text()
