"""The metrics of HAProxy's own exporter that fastlb can fill, under the same names and labels.

Names and types: https://docs.haproxy.org/dev/configuration.html (section on the Prometheus exporter) and its
addons/promex. What fastlb has no figure for is left out rather than shown as 0: compression, caches and the like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from fastlb import __version__
from fastlb.admin import words
from fastlb.admin.board import BackendRow, FrontendRow, Row, ServerRow
from fastlb.admin.exposition import Family, Number
from fastlb.admin.totals import Process
from fastlb.control import counters as c
from fastlb.control.region import FULL_RAMP, Region

R = TypeVar("R", bound=Row)
CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")


def codes(row: Row) -> list[tuple[str, Number]]:
    """Responses by class."""
    return list(zip(CODES, row.totals[c.STATUS_1XX : c.STATUS_OTHER + 1], strict=True))


def counter(index: int) -> Callable[[Row], Number]:
    """A getter of one counter."""
    return lambda row: row.totals[index]


def one_of(states: Iterable[str], now: str) -> list[tuple[str, Number]]:
    """1 for the state of now, 0 for the others."""
    return [(state, int(state == now)) for state in states]


def _pace(name: str) -> Callable[[Row], Number | None]:
    return lambda row: None if row.pace is None else float(getattr(row.pace, name))


def process_families() -> list[Family[Process]]:
    """Of the process as a whole; sums over all workers."""
    p = "haproxy_process_"
    return [
        Family(f"{p}nbthread", "gauge", "Number of workers.", lambda x: max(1, x.workers)),
        Family(f"{p}uptime_seconds", "gauge", "Seconds since the start.", lambda x: x.uptime),
        Family(f"{p}start_time_seconds", "gauge", "Time of the start, seconds since 1970.", lambda x: x.started_at),
        Family(f"{p}max_fds", "gauge", "Open files that a process may have.", lambda x: x.descriptors),
        Family(
            f"{p}max_connections", "gauge", "Client connections that all workers take.",
            lambda x: x.max_connections * max(1, x.workers),
        ),
        Family(f"{p}current_connections", "gauge", "Client connections open now.", lambda x: x.connections),
        Family(f"{p}connections_total", "counter", "Client connections accepted.", lambda x: x.connections_total),
        Family(f"{p}requests_total", "counter", "Requests ended.", lambda x: x.requests_total),
        Family(f"{p}bytes_out_total", "counter", "Bytes sent to clients.", lambda x: x.bytes_out),
        Family(f"{p}current_connection_rate", "gauge", "Client connections a second.", lambda x: x.connection_rate),
        Family(f"{p}current_session_rate", "gauge", "Client connections a second.", lambda x: x.connection_rate),
        Family(f"{p}stopping", "gauge", "1 while the program drains.", lambda x: int(x.stopping)),
        Family(f"{p}jobs", "gauge", "Client connections and listening sockets.", lambda x: x.connections + x.listeners),
        Family(
            f"{p}build_info", "gauge", "Version.", label="version", values=lambda x: [(__version__, 1)],
        ),
    ]  # fmt: skip


def frontend_families() -> list[Family[FrontendRow]]:
    p = "haproxy_frontend_"
    return [
        Family(f"{p}status", "gauge", "State of the frontend.", label="state",
               values=lambda row: one_of(("DOWN", "UP"), "UP")),
        Family(f"{p}current_sessions", "gauge", "Client connections open now.", counter(c.OPEN)),
        Family(f"{p}max_sessions", "gauge", "Most client connections at once.", counter(c.PEAK)),
        Family(f"{p}limit_sessions", "gauge", "Client connections allowed.", lambda row: row.limit or None),
        Family(f"{p}sessions_total", "counter", "Client connections accepted.", counter(c.CONNECTIONS)),
        Family(f"{p}max_session_rate", "gauge", "Most client connections in a second.", _pace("conn_rate_max")),
        Family(f"{p}connections_total", "counter", "Client connections accepted.", counter(c.CONNECTIONS)),
        Family(f"{p}connections_rate_max", "gauge", "Most client connections in a second.", _pace("conn_rate_max")),
        Family(f"{p}bytes_in_total", "counter", "Bytes of requests.", counter(c.BYTES_IN)),
        Family(f"{p}bytes_out_total", "counter", "Bytes of responses.", counter(c.BYTES_OUT)),
        Family(f"{p}requests_denied_total", "counter", "Requests denied by a rule.", counter(c.DENIED)),
        Family(f"{p}request_errors_total", "counter", "Requests refused as wrong.", counter(c.BAD_REQUESTS)),
        Family(f"{p}http_requests_total", "counter", "Requests ended.", counter(c.REQUESTS)),
        Family(f"{p}http_requests_rate_max", "gauge", "Most requests in a second.", _pace("rate_max")),
        Family(f"{p}http_responses_total", "counter", "Responses by class.", label="code", values=codes),
        Family(f"{p}intercepted_requests_total", "counter", "Requests answered without a server.",
               counter(c.INTERCEPTED)),
    ]  # fmt: skip


def _served(p: str, region: Region) -> list[Family[R]]:
    """What backends and servers have in common."""

    def mean(which: int) -> Callable[[R], Number | None]:
        def seconds(row: R) -> Number | None:
            if row.pace is not None:
                return row.pace.means[which] / 1e6
            requests = row[c.REQUESTS]
            return row[c.QUEUE_US + which] / requests / 1e6 if requests else 0

        return seconds

    def longest(which: int) -> Callable[[R], Number | None]:
        def seconds(row: R) -> Number | None:
            if not row[c.REQUESTS]:
                return 0
            return region.quantiles(row.kind, row.index, which, (1.0,))[1][0] / 1e6

        return seconds

    times = ("queue", "connect", "response", "total")
    return [
        Family(f"{p}sessions_total", "counter", "Requests given to it.", counter(c.SELECTED)),
        Family(f"{p}loadbalanced_total", "counter", "Times it was chosen.", counter(c.SELECTED)),
        Family(f"{p}bytes_in_total", "counter", "Bytes of requests.", counter(c.BYTES_IN)),
        Family(f"{p}bytes_out_total", "counter", "Bytes of responses.", counter(c.BYTES_OUT)),
        Family(f"{p}connection_errors_total", "counter", "Connections that failed.", counter(c.CONNECT_ERRORS)),
        Family(f"{p}response_errors_total", "counter", "Responses that failed.", counter(c.RESPONSE_ERRORS)),
        Family(f"{p}retry_warnings_total", "counter", "Further attempts.", counter(c.RETRIES)),
        Family(f"{p}redispatch_warnings_total", "counter", "Attempts on another server.", counter(c.REDISPATCHES)),
        Family(f"{p}client_aborts_total", "counter", "Requests whose client left.", counter(c.CLIENT_ABORTS)),
        Family(f"{p}server_aborts_total", "counter", "Responses that a server broke off.", counter(c.SERVER_ABORTS)),
        Family(f"{p}http_requests_total", "counter", "Requests ended.", counter(c.REQUESTS)),
        Family(f"{p}http_responses_total", "counter", "Responses by class.", label="code", values=codes),
        Family(f"{p}max_session_rate", "gauge", "Most requests in a second.", _pace("rate_max")),
        *(
            Family(f"{p}{name}_time_average_seconds", "gauge", f"Mean {name} time of the last 1024 requests.",
                   mean(which))
            for which, name in enumerate(times)
        ),
        *(
            Family(f"{p}max_{name}_time_seconds", "gauge", f"Longest {name} time, an eighth too long at most.",
                   longest(which))
            for which, name in enumerate(times)
        ),
    ]  # fmt: skip


def backend_families(region: Region, now: float) -> list[Family[BackendRow]]:
    p = "haproxy_backend_"
    common: list[Family[BackendRow]] = _served(p, region)
    return [
        Family(f"{p}status", "gauge", "State of the backend.", label="state",
               values=lambda row: one_of(("DOWN", "UP"), row.state)),
        Family(f"{p}current_queue", "gauge", "Requests waiting for a server.", counter(c.QUEUED)),
        Family(f"{p}max_queue", "gauge", "Most requests waiting at once.", counter(c.QUEUE_PEAK)),
        Family(f"{p}current_sessions", "gauge", "Requests in flight now.", counter(c.CURRENT)),
        Family(f"{p}max_sessions", "gauge", "Most requests in flight at once.", counter(c.PEAK)),
        *common,
        Family(f"{p}connection_attempts_total", "counter", "Connections opened to servers.",
               lambda row: row.summed(c.CONNECTIONS)),
        Family(f"{p}connection_reuses_total", "counter", "Requests on kept connections.",
               lambda row: row.summed(c.REUSED)),
        Family(f"{p}weight", "gauge", "Weight of the servers in use.",
               lambda row: sum(one.effective_weight for one in row.servers if one.usable)),
        Family(f"{p}uweight", "gauge", "The same without slow start.",
               lambda row: sum(one.weight for one in row.servers if one.usable)),
        Family(f"{p}active_servers", "gauge", "Servers in use.", lambda row: row.usable(backup=False)),
        Family(f"{p}backup_servers", "gauge", "Backup servers that could be in use.",
               lambda row: row.usable(backup=True)),
        Family(f"{p}check_up_down_total", "counter", "Times the last server went down.",
               lambda row: row.standing.downs),
        Family(f"{p}check_last_change_seconds", "gauge", "Seconds since it went up or down.",
               lambda row: round(now - (row.standing.turned or row.standing.since))),
        Family(f"{p}downtime_seconds_total", "counter", "Seconds without a server.",
               lambda row: round(row.standing.downtime(now), 3)),
        Family(f"{p}agg_server_status", "gauge", "Servers by state.", label="state",
               values=lambda row: _servers_by_state(row)),
        Family(f"{p}agg_check_status", "gauge", "Checked servers by the last result.", label="state",
               values=lambda row: _servers_by_check(row)),
    ]  # fmt: skip


def server_families(region: Region, now: float) -> list[Family[ServerRow]]:
    p = "haproxy_server_"
    common: list[Family[ServerRow]] = _served(p, region)
    return [
        Family(f"{p}status", "gauge", "State of the server.", label="state",
               values=lambda row: one_of(words.SERVER_STATES, words.state_word(row))),
        Family(f"{p}current_sessions", "gauge", "Requests in flight now.", lambda row: row.inflight),
        Family(f"{p}max_sessions", "gauge", "Most requests in flight at once.", lambda row: row.peak),
        Family(f"{p}limit_sessions", "gauge", "Requests at once allowed.", lambda row: row.limit or None),
        *common,
        Family(f"{p}connection_attempts_total", "counter", "Connections opened.", counter(c.CONNECTIONS)),
        Family(f"{p}connection_reuses_total", "counter", "Requests on kept connections.", counter(c.REUSED)),
        Family(f"{p}weight", "gauge", "Weight with slow start.", lambda row: row.effective_weight),
        Family(f"{p}uweight", "gauge", "Weight as it is set.", lambda row: row.weight),
        Family(f"{p}active", "gauge", "1 for a server of the main tier.", lambda row: int(not row.server.backup)),
        Family(f"{p}backup", "gauge", "1 for a backup server.", lambda row: int(row.server.backup)),
        Family(f"{p}current_throttle", "gauge", "Percent of the weight while it starts slowly.",
               lambda row: row.ramp * 100 // FULL_RAMP),
        Family(f"{p}check_status", "gauge", "Result of the last health check.", label="state",
               values=lambda row: one_of(words.CHECK_WORDS, words.check_word(row.check)) if row.check else ()),
        Family(f"{p}check_code", "gauge", "Status of the last HTTP health check.",
               lambda row: row.check.last.code or None if row.check and row.check.last else None),
        Family(f"{p}check_duration_seconds", "gauge", "Duration of the last health check.",
               lambda row: row.check.last.duration if row.check and row.check.last else None),
        Family(f"{p}check_failures_total", "counter", "Failed health checks.",
               lambda row: row.check.failed if row.check else None),
        Family(f"{p}agent_status", "gauge", "Result of the last question to the agent.", label="state",
               values=lambda row: one_of(words.CHECK_WORDS, words.agent_word(row.agent)) if row.agent else ()),
        Family(f"{p}agent_code", "gauge", "Status of the last answer of the agent.",
               lambda row: row.agent.last.code or None if row.agent and row.agent.last else None),
        Family(f"{p}agent_duration_seconds", "gauge", "Duration of the last question to the agent.",
               lambda row: row.agent.last.duration if row.agent and row.agent.last else None),
        Family(f"{p}check_up_down_total", "counter", "Times it went down.", lambda row: row.standing.downs),
        Family(f"{p}check_last_change_seconds", "gauge", "Seconds since it went up or down.",
               lambda row: round(now - (row.standing.turned or row.standing.since))),
        Family(f"{p}downtime_seconds_total", "counter", "Seconds down.",
               lambda row: round(row.standing.downtime(now), 3)),
        Family(f"{p}idle_connections_current", "gauge", "Idle connections.", counter(c.IDLE)),
        Family(f"{p}idle_connections_limit", "gauge", "Idle connections kept at most.", lambda row: row.pool_limit),
        Family(f"{p}safe_idle_connections_current", "gauge", "Idle connections; all are safe to use.",
               counter(c.IDLE)),
        Family(f"{p}used_connections_current", "gauge", "Connections with a request.", counter(c.CURRENT)),
    ]  # fmt: skip


def _servers_by_state(row: BackendRow) -> list[tuple[str, Number]]:
    counts = dict.fromkeys(words.SERVER_STATES, 0)
    for one in row.servers:
        counts[words.state_word(one)] += 1
    return list(counts.items())


def _servers_by_check(row: BackendRow) -> list[tuple[str, Number]]:
    counts = dict.fromkeys(words.CHECK_WORDS, 0)
    for one in row.servers:
        if one.check is not None:
            counts[words.check_word(one.check)] += 1
    return list(counts.items()) if row.backend.health_check is not None else []
