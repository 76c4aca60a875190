"""/metrics: both formats read back by the official parser, every figure where it belongs, filters, speed."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from fastlb.admin.exposition import Family, escaped, number, parse_filter, wants_openmetrics
from fastlb.admin.metrics import SCOPES
from fastlb.control import counters as c
from fastlb.control.ladder import BOUNDS, BOUNDS_US, EDGES
from fastlb.control.region import DRAIN, MAINT, UP
from fastlb.engine import stats
from fastlb.spec import HealthCheck
from tests.admin.conftest import Origins, Start
from tests.admin.inside import Inside, inside, make_backend, make_spec
from tests.helpers import find, free_port, wait_until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# FEATURES of HAProxy's exporter that fastlb fills; who takes one away breaks dashboards.
HAPROXY = {
    "process": "uptime_seconds start_time_seconds nbthread max_connections current_connections connections_total "
    "requests_total current_connection_rate current_session_rate max_fds bytes_out_total build_info stopping jobs",
    "frontend": "current_sessions max_sessions sessions_total bytes_in_total bytes_out_total requests_denied_total "
    "request_errors_total status connections_total connections_rate_max http_requests_total http_requests_rate_max "
    "http_responses_total intercepted_requests_total",
    "backend": "current_queue max_queue current_sessions sessions_total bytes_in_total bytes_out_total "
    "connection_errors_total response_errors_total retry_warnings_total redispatch_warnings_total status weight "
    "active_servers backup_servers check_up_down_total check_last_change_seconds downtime_seconds_total "
    "loadbalanced_total http_requests_total http_responses_total client_aborts_total server_aborts_total "
    "queue_time_average_seconds connect_time_average_seconds response_time_average_seconds total_time_average_seconds "
    "max_queue_time_seconds max_connect_time_seconds max_response_time_seconds max_total_time_seconds "
    "connection_attempts_total connection_reuses_total agg_server_status agg_check_status uweight",
    "server": "active backup check_status check_code check_duration_seconds check_failures_total current_throttle "
    "idle_connections_current idle_connections_limit used_connections_current safe_idle_connections_current status "
    "current_sessions sessions_total weight uweight bytes_in_total bytes_out_total http_requests_total "
    "http_responses_total connection_attempts_total connection_reuses_total check_up_down_total downtime_seconds_total "
    "max_sessions loadbalanced_total retry_warnings_total total_time_average_seconds max_total_time_seconds",
}


def samples(families: Iterable[Any]) -> Samples:
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[(name, tuple(sorted(labels.items())))]


def test_the_list_of_counters_is_the_engines() -> None:
    assert c.NAMES == stats.NAMES
    for name in ("CONNECTIONS", "REQUESTS", "OPEN", "SELECTED", "QUEUE_PEAK", "TOTAL_US", "BYTES_OUT", "IDLE"):
        assert c.NAMES[getattr(c, name)] == name.lower()


def test_the_ladder_is_exact() -> None:
    assert [float(bound) for bound in BOUNDS] == [us / 1e6 for us in BOUNDS_US]
    assert list(EDGES) == sorted(EDGES)


@given(st.lists(st.integers(0, 2**28), max_size=60))
def test_cumulative_counts_are_exact(durations: list[int]) -> None:
    from fastlb._core.region import Region

    region = Region.create(False, 2)
    region.begin_worker(0)
    region.begin_worker(1)
    region.assign_frontend(0)
    for n, duration in enumerate(durations):
        region.record(n % 2, "frontend", 0, c.TIME_TOTAL, duration)
    expected = [sum(duration < bound for duration in durations) for bound in BOUNDS_US]
    assert region.ladder("frontend", 0, c.TIME_TOTAL, EDGES) == [*expected, len(durations)]
    n, (smallest, longest) = region.quantiles("frontend", 0, c.TIME_TOTAL, (0.0, 1.0))
    assert n == len(durations)
    if durations and max(durations) < 2**27:
        assert max(durations) <= longest <= max(durations) * 1.125 + 1
        assert smallest <= min(durations)


def fill(lb: Inside) -> None:
    """Figures of three requests: two on app/s0, one of which failed, and one that no server saw."""
    region = lb.service.region
    places = (("frontend", lb.frontend()), ("group", 0), ("server", lb.server("app", "s0")))
    for kind, index in places:
        region.count(0, kind, index, c.REQUESTS, 2)
        region.count(0, kind, index, c.STATUS_2XX)
        region.count(0, kind, index, c.STATUS_5XX)
        region.count(0, kind, index, c.BYTES_IN, 300)
        region.count(0, kind, index, c.BYTES_OUT, 4000)
        region.count(0, kind, index, c.TOTAL_US, 3_500)
        region.record(0, kind, index, c.TIME_TOTAL, 500)
        region.record(0, kind, index, c.TIME_TOTAL, 3_000)
        region.record(0, kind, index, c.TIME_QUEUE, 0, 2)
    region.count(0, "frontend", 0, c.REQUESTS)
    region.count(0, "frontend", 0, c.STATUS_4XX)
    region.count(0, "frontend", 0, c.INTERCEPTED)
    region.record(0, "frontend", 0, c.TIME_TOTAL, 40_000_000)
    region.count(0, "group", 0, c.QUEUED, 4)
    region.count(0, "server", lb.server("app", "s0"), c.SELECTED, 3)
    region.count(0, "server", lb.server("app", "s0"), c.CONNECTIONS, 2)


async def read(lb: Inside, query: str = "", openmetrics: bool = False) -> Samples:
    if openmetrics:
        return samples(parse_openmetrics(await lb.text(f"/metrics{query}", accept="application/openmetrics-text")))
    return samples(parse_text(await lb.text(f"/metrics{query}")))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_figures_are_where_they_belong(openmetrics: bool) -> None:
    async def main() -> None:
        spec = make_spec(make_backend("app", 2, health_check=HealthCheck()), make_backend("other", 1))
        async with inside(spec) as lb:
            fill(lb)
            lb.service.region.change_state(lb.server("app", "s1"), clear=UP)
            lb.service.book.sweep()
            found = await read(lb, "?extra-counters", openmetrics)
            at = {"proxy": "app", "server": "s0"}
            for code, front, back in (("2xx", 1, 1), ("4xx", 1, 0), ("5xx", 1, 1), ("other", 0, 0)):
                assert value(found, "fastlb_frontend_requests_total", proxy="f0", code=code) == front
                assert value(found, "haproxy_frontend_http_responses_total", proxy="f0", code=code) == front
                assert value(found, "fastlb_backend_requests_total", proxy="app", code=code) == back
                assert value(found, "haproxy_server_http_responses_total", code=code, **at) == back
            assert value(found, "haproxy_frontend_http_requests_total", proxy="f0") == 3
            assert value(found, "haproxy_backend_http_requests_total", proxy="other") == 0
            assert value(found, "fastlb_server_received_bytes_total", **at) == 300
            assert value(found, "haproxy_server_bytes_out_total", **at) == 4000
            assert value(found, "haproxy_server_loadbalanced_total", **at) == 3
            assert value(found, "haproxy_backend_connection_attempts_total", proxy="app") == 2
            assert value(found, "haproxy_frontend_intercepted_requests_total", proxy="f0") == 1
            assert value(found, "fastlb_backend_queue", proxy="app") == 4
            assert value(found, "haproxy_backend_current_queue", proxy="app") == 4
            assert value(found, "haproxy_process_requests_total") == 3

            name = "fastlb_server_total_time_seconds"
            counts = [value(found, f"{name}_bucket", le=bound, **at) for bound in (*BOUNDS, "+Inf")]
            assert counts == [sum(us < bound for us in (500, 3000)) for bound in BOUNDS_US] + [2]
            assert (value(found, f"{name}_count", **at), value(found, f"{name}_sum", **at)) == (2, 0.0035)
            front = "fastlb_frontend_total_time_seconds_bucket"
            assert value(found, front, proxy="f0", le=BOUNDS[-1]) == 2  # the third took longer than any bound
            assert value(found, front, proxy="f0", le="+Inf") == 3
            assert value(found, "fastlb_server_queue_time_seconds_bucket", le=BOUNDS[0], **at) == 2
            assert value(found, "fastlb_server_connect_time_seconds_count", **at) == 0

            states = {
                s: value(found, "haproxy_server_status", proxy="app", server="s1", state=s) for s in ("UP", "DOWN")
            }
            assert states == {"UP": 0, "DOWN": 1}
            assert value(found, "fastlb_server_state", proxy="app", server="s1", state="DOWN") == 1
            assert value(found, "haproxy_backend_active_servers", proxy="app") == 1
            assert value(found, "haproxy_backend_agg_server_status", proxy="app", state="DOWN") == 1
            assert value(found, "fastlb_backend_panic", proxy="app") == 0
            assert value(found, "fastlb_worker_state", worker="0", state="ready") == 1

            lb.service.region.change_state(lb.server("app", "s0"), clear=UP)
            lb.service.book.sweep()
            found = await read(lb, "?scope=backend", openmetrics)
            assert value(found, "fastlb_backend_panic", proxy="app") == 1
            assert value(found, "fastlb_backend_up", proxy="app") == 0
            assert value(found, "haproxy_backend_status", proxy="app", state="DOWN") == 1
            assert value(found, "haproxy_backend_check_up_down_total", proxy="app") == 1

    asyncio.run(main())


def test_haproxys_names_are_there(fastlb: Start, origins: Origins) -> None:
    lb = fastlb(*origins.servers, workers=0, backend={"health_check": {"path": "/health", "interval": "100ms"}})
    wait_until(lambda: lb.api.get("/v1/servers?limit=1")["servers"][0]["check"]["code"], what="the first check")
    names = {name for name, _ in samples(parse_text(lb.api.text("/metrics")))}
    for scope, wanted in HAPROXY.items():
        missing = {f"haproxy_{scope}_{name}" for name in wanted.split()} - names
        assert not missing
    promtool = find("promtool")
    if promtool is not None:
        text = lb.api.text("/metrics")
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        wrong = [
            line for line in done.stderr.splitlines() if "haproxy_" not in line
        ]  # HAProxy's names are its own affair
        assert not wrong, done.stderr


def test_filters() -> None:
    async def main() -> None:
        async with inside(make_spec(make_backend("app", 3))) as lb:
            lb.service.region.change_state(lb.server("app", "s1"), set=MAINT)
            lb.service.region.change_state(lb.server("app", "s2"), set=DRAIN)
            everything = await read(lb)
            by_scope = [await read(lb, f"?scope={scope}") for scope in SCOPES]
            assert sum(len(found) for found in by_scope) == len(everything)
            assert {key for found in by_scope for key in found} == set(everything)
            both = await read(lb, "?scope=backend&scope=server&no-maint")
            assert {dict(labels).get("server") for _, labels in both} == {None, "s0", "s2"}
            some = await read(lb, "?metrics=haproxy_server_status,fastlb_server_*_total,-fastlb_server_requests_total")
            names = {name for name, _ in some}
            assert "haproxy_server_status" in names
            assert "fastlb_server_retries_total" in names
            assert "fastlb_server_selected_total" in names  # asked for by name: extra or not
            assert not names & {"fastlb_server_requests_total", "haproxy_server_weight", "fastlb_backend_up"}
            assert "haproxy_server_weight" not in {name for name, _ in await read(lb, "?metrics=-haproxy_*")}
            assert "fastlb_server_selected_total" not in {name for name, _ in everything}
            extra = await read(lb, "?extra-counters")
            assert set(everything) < set(extra)

    asyncio.run(main())


def test_names_with_anything_in_them_are_escaped() -> None:
    family: Family[int] = Family("x", "gauge", "Help.", lambda row: row)
    awkward = 'a"b\\c\nd'
    text = family.header(False) + "".join(family.lines([(f'label="{escaped(awkward)}"', 1)]))
    (found,) = parse_text(text)
    assert found.samples[0].labels == {"label": awkward}


def test_numbers() -> None:
    assert [number(v) for v in (0, 2**63, 0.0, 1.5, 0.000001, 1e12)] == [
        "0", "9223372036854775808", "0", "1.5", "1e-06", "1e+12",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.2,text/plain", False),
        ("APPLICATION/OpenMetrics-Text; version=1.0.0", True),
        ("application/openmetrics-text;q=x", False),
    ],
)
def test_which_format(accept: str, openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is openmetrics


def test_a_scope_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="'servers'"):
        parse_filter([("scope", "servers")], SCOPES)
    assert parse_filter([("scope", "*")], SCOPES).scopes == set(SCOPES)


@pytest.mark.timeout(240)
def test_ten_thousand_servers_in_time() -> None:
    """About a second, and never long without a turn for the rest of the supervisor (both in CPU time)."""

    async def main() -> None:
        async with inside(make_spec(make_backend("app", 10_000))) as lb:
            for index in range(0, 10_000, 3):
                lb.service.region.count(0, "server", index, c.REQUESTS)
                lb.service.region.record(0, "server", index, c.TIME_TOTAL, 700)
            longest = 0.0

            async def others() -> None:
                nonlocal longest
                last = time.process_time()
                while True:
                    await asyncio.sleep(0)
                    now = time.process_time()
                    longest, last = max(longest, now - last), now

            began = time.process_time()
            other = asyncio.create_task(others())
            text = await lb.text("/metrics")
            other.cancel()
            used = time.process_time() - began
            print(
                f"{len(text):,} bytes, {text.count(chr(10)):,} lines, {used:.2f} s of CPU, longest turn {longest:.3f} s"
            )
            assert text.count('server="s9999"') > 100

    asyncio.run(main())


def test_a_server_that_is_not_there(fastlb: Start) -> None:
    """A failed connection is in the figures of server and backend."""
    lb = fastlb({"name": "gone", "address": f"127.0.0.1:{free_port()}"}, workers=1, backend={"retries": 0})
    assert lb.request() == 503
    lb.settled(1)
    found = samples(parse_text(lb.api.text("/metrics")))
    assert value(found, "fastlb_server_connect_errors_total", proxy="app", server="gone") == 1
    assert value(found, "haproxy_backend_connection_errors_total", proxy="app") == 1
    assert value(found, "fastlb_backend_requests_total", proxy="app", code="5xx") == 1
