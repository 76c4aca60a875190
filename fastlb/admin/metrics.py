"""/metrics: fastlb's own metrics, with histograms, and those of HAProxy's exporter.

All counters are read before the first line is written, so that one answer holds counts of one moment; histograms are
read as they are written out.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from fastlb import __version__
from fastlb.admin import discover
from fastlb.admin import metrics_haproxy as haproxy
from fastlb.admin.board import BackendRow, Board, FrontendRow, Row, ServerRow
from fastlb.admin.exposition import AnyFamily, Family, Filter, Histogram, escaped
from fastlb.admin.metrics_haproxy import codes, counter, one_of
from fastlb.admin.metrics_limits import rule_families, rule_rows, step_families, step_rows, sync_families, sync_rows
from fastlb.admin.metrics_traffic import TRAFFIC, auth_rows, has_traffic, mirror_rows
from fastlb.admin.totals import Process, process_of
from fastlb.admin.workers import WorkerFacts, worker_facts
from fastlb.control import counters as c
from fastlb.control import group_limits
from fastlb.control.breakers import STATES as BREAKER_STATES
from fastlb.control.breakers import breaker_status
from fastlb.control.ladder import BOUNDS, EDGES
from fastlb.control.past import Past
from fastlb.control.region import MAINT, Region
from fastlb.runtime.acme_keeper import Order
from fastlb.runtime.tls_keeper import Served

T = TypeVar("T")
R = TypeVar("R", bound=Row)
SCOPES = ("global", "frontend", "backend", "server")
STATES = ("UP", "DOWN", "EJECTED", "DRAIN", "MAINT")
TIMES = (
    ("queue", "Seconds that requests waited for a free server."),
    ("connect", "Seconds until requests had a connection to a server; 0 on a kept one."),
    ("response", "Seconds from the connection to the head of the response."),
    ("total", "Seconds from the first byte of a request to the last byte of its response."),
)


def histograms(prefix: str, region: Region, past: Past) -> list[AnyFamily[R]]:
    """The four latency histograms of frontends, backends or servers."""

    def one(which: int, name: str, text: str) -> Histogram[R]:
        def counts(row: R) -> list[int]:
            return past.ladder(row.kind, row.index, which, region.ladder(row.kind, row.index, which, EDGES))

        return Histogram(
            f"{prefix}_{name}_time_seconds", text, BOUNDS, counts, lambda row: row[c.QUEUE_US + which] / 1e6
        )

    return [one(which, name, text) for which, (name, text) in enumerate(TIMES)]


CERTIFICATES: Family[Served] = Family(
    "fastlb_tls_certificate_not_after_timestamp_seconds",
    "gauge",
    "When a certificate ends, seconds since 1970.",
    lambda one: int(one.leaf.not_after.timestamp()),
)
HANDSHAKE_FAILURES = (
    ("protocol", c.HANDSHAKE_PROTOCOL),
    ("certificate", c.HANDSHAKE_CERTIFICATE),
    ("left", c.HANDSHAKE_LEFT),
    ("timeout", c.HANDSHAKE_TIMEOUT),
)
ACME: list[Family[Order]] = [
    Family("fastlb_acme_certificates_issued_total", "counter", "Certificates got by ACME, by their first name.",
           lambda one: one.issued),
    Family("fastlb_acme_orders_failed_total", "counter", "Orders that led to no certificate.", lambda one: one.failed),
    Family("fastlb_acme_failing", "gauge", "1 while the last order has failed.", lambda one: int(one.failures > 0)),
    Family("fastlb_acme_renewal_timestamp_seconds", "gauge", "When a certificate is renewed, seconds since 1970.",
           lambda one: int(one.renew_at) if one.renew_at else None),
]  # fmt: skip
BUILD: Family[None] = Family("fastlb_build_info", "gauge", "Version of fastlb and of the interpreter.", lambda _: 1)


def process_families() -> list[Family[Process]]:
    return [
        Family("fastlb_start_time_seconds", "gauge", "Time of the start, seconds since 1970.", lambda x: x.started_at),
        Family("fastlb_draining", "gauge", "1 while the program drains.", lambda x: int(x.stopping)),
        Family("fastlb_max_open_files", "gauge", "Open files that a process may have.", lambda x: x.descriptors),
        Family("fastlb_max_connections", "gauge", "Client connections that a worker takes at once.",
               lambda x: x.max_connections),
        Family("fastlb_config_generation", "gauge", "Number of the configuration, from 1.", lambda x: x.generation),
        Family("fastlb_config_reloads_total", "counter", "Reloads done.", lambda x: x.reloads),
        Family("fastlb_tracing_spans_exported_total", "counter", "Spans that the collector has taken.",
               lambda x: x.spans_exported),
        Family("fastlb_tracing_spans_dropped_total", "counter", "Spans that were dropped: no room, or not taken.",
               lambda x: x.spans_dropped),
    ]  # fmt: skip


def worker_families() -> list[Family[WorkerFacts]]:
    states = ("gone", "starting", "ready", "draining", "resting")
    return [
        Family("fastlb_worker_state", "gauge", "State of the worker slot.", label="state",
               values=lambda w: one_of(states, w.state)),
        Family("fastlb_worker_open_connections", "gauge", "Client connections open now.", lambda w: w.connections),
        Family("fastlb_worker_starts_total", "counter", "Processes started in this slot.", lambda w: w.starts),
        Family("fastlb_worker_heartbeat_age_seconds", "gauge", "Seconds since the last heartbeat.",
               lambda w: w.beat_age),
        Family("fastlb_worker_cpu_seconds_total", "counter", "CPU time of the process of now.",
               lambda w: w.cpu_seconds),
        Family("fastlb_worker_resident_memory_bytes", "gauge", "Resident memory.", lambda w: w.resident_bytes),
    ]  # fmt: skip


def frontend_families(region: Region, past: Past) -> list[AnyFamily[FrontendRow]]:
    p = "fastlb_frontend"
    own: list[AnyFamily[FrontendRow]] = [
        Family(f"{p}_open_connections", "gauge", "Client connections open now.", counter(c.OPEN)),
        Family(f"{p}_connections_total", "counter", "Client connections accepted.", counter(c.CONNECTIONS)),
        Family(f"{p}_requests_in_flight", "gauge", "Requests in flight now.", counter(c.CURRENT)),
        Family(f"{p}_requests_total", "counter", "Requests ended, by class of the response.", label="code",
               values=codes),
        Family(f"{p}_received_bytes_total", "counter", "Bytes of requests.", counter(c.BYTES_IN)),
        Family(f"{p}_sent_bytes_total", "counter", "Bytes of responses.", counter(c.BYTES_OUT)),
        Family(f"{p}_bad_requests_total", "counter", "Requests refused as wrong.", counter(c.BAD_REQUESTS)),
        Family(f"{p}_denied_requests_total", "counter", "Requests denied by a rule or a rate limit.",
               counter(c.DENIED)),
        Family(f"{p}_access_refusals_total", "counter", "Requests of networks that may not, by what they got.",
               label="action",
               values=lambda row: [("forbid", row[c.FORBIDDEN]), ("tarpit", row[c.TARPITTED]),
                                   ("drop", row[c.DROPPED])]),
        Family(f"{p}_faults_total", "counter", "Faults made on purpose.", label="kind",
               values=lambda row: [("delay", row[c.FAULT_DELAYS]), ("abort", row[c.FAULT_ABORTS])]),
        Family(f"{p}_client_aborts_total", "counter", "Requests whose client left.", counter(c.CLIENT_ABORTS)),
        Family(f"{p}_intercepted_requests_total", "counter", "Requests answered without a server.",
               counter(c.INTERCEPTED)),
        Family(f"{p}_slow_clients_total", "counter", "Clients cut off for being too slow, with requests or responses.",
               label="at", values=lambda row: [("request", row[c.SLOW_REQUESTS]), ("response", row[c.SLOW_RESPONSES])]),
        Family(f"{p}_bandwidth_waits_total", "counter", "Requests and responses that a limit of bandwidth held back.",
               counter(c.HELD_BACK)),
        Family(f"{p}_bandwidth_wait_seconds_total", "counter", "For how long, in all.",
               lambda row: row[c.HELD_US] / 1e6),
        Family(f"{p}_tls_handshakes_total", "counter", "TLS handshakes done, in full or resumed.", label="kind",
               values=lambda row: [("full", row[c.HANDSHAKE_FULL]), ("resumed", row[c.HANDSHAKE_RESUMED])]),
        Family(f"{p}_tls_versions_total", "counter", "TLS handshakes done, by version.", label="version",
               values=lambda row: [("1.2", row[c.TLS_1_2]),
                                   ("1.3", row[c.HANDSHAKE_FULL] + row[c.HANDSHAKE_RESUMED] - row[c.TLS_1_2])]),
        Family(f"{p}_tls_failures_total", "counter", "TLS handshakes that failed, by reason.", label="reason",
               values=lambda row: [(name, row[number]) for name, number in HANDSHAKE_FAILURES]),
    ]  # fmt: skip
    return own + histograms(p, region, past)


def backend_families(region: Region, past: Past) -> list[AnyFamily[BackendRow]]:
    p = "fastlb_backend"
    own: list[AnyFamily[BackendRow]] = [
        Family(f"{p}_up", "gauge", "1 while a server is up.", lambda row: int(row.state == "UP")),
        Family(f"{p}_servers", "gauge", "Servers by state.", label="state", values=_by_state),
        Family(f"{p}_panic", "gauge", "1 while so few servers are up that all are used.",
               lambda row: int(row.panic)),
        Family(f"{p}_circuit_breaker", "gauge", "State of the circuit breaker of the backend.", label="state",
               values=lambda row: one_of(BREAKER_STATES, breaker_status(region, "group", row.index).state)),
        Family(f"{p}_circuit_breaker_opened_total", "counter", "Times that it opened.",
               lambda row: breaker_status(region, "group", row.index).opened),
        Family(f"{p}_concurrency_limit", "gauge", "Requests at once that the adaptive limit allows; else no sample.",
               lambda row: group_limits.limit(region, row.index) or None),
        Family(f"{p}_refused_requests_total", "counter", "Requests that it, or the limit of concurrency, turned away.",
               lambda row: breaker_status(region, "group", row.index).refused),
        Family(f"{p}_requests_in_flight", "gauge", "Requests in flight or waiting now.", counter(c.CURRENT)),
        Family(f"{p}_queue", "gauge", "Requests waiting for a free server now.", counter(c.QUEUED)),
        Family(f"{p}_requests_total", "counter", "Requests ended, by class of the response.", label="code",
               values=codes),
        Family(f"{p}_received_bytes_total", "counter", "Bytes of requests.", counter(c.BYTES_IN)),
        Family(f"{p}_sent_bytes_total", "counter", "Bytes of responses.", counter(c.BYTES_OUT)),
        *_failures(p),
        *_hedges(p),
    ]  # fmt: skip
    return own + histograms(p, region, past)


def server_families(region: Region, past: Past) -> list[AnyFamily[ServerRow]]:
    p = "fastlb_server"
    own: list[AnyFamily[ServerRow]] = [
        Family(f"{p}_state", "gauge", "State of the server.", label="state",
               values=lambda row: one_of(STATES, row.state)),
        Family(f"{p}_last_change_timestamp_seconds", "gauge", "When the state was entered, seconds since 1970.",
               lambda row: row.standing.since),
        Family(f"{p}_weight", "gauge", "Weight with slow start.", lambda row: row.effective_weight),
        Family(f"{p}_circuit_breaker", "gauge", "State of the circuit breaker of the server.", label="state",
               values=lambda row: one_of(BREAKER_STATES, breaker_status(region, "server", row.index).state)),
        Family(f"{p}_circuit_breaker_opened_total", "counter", "Times that it opened.",
               lambda row: breaker_status(region, "server", row.index).opened),
        Family(f"{p}_requests_in_flight", "gauge", "Requests in flight now.", lambda row: row.inflight),
        Family(f"{p}_max_connections", "gauge", "Requests at once allowed; no sample where unlimited.",
               lambda row: row.limit or None),
        Family(f"{p}_requests_total", "counter", "Requests ended, by class of the response.", label="code",
               values=codes),
        Family(f"{p}_received_bytes_total", "counter", "Bytes of requests.", counter(c.BYTES_IN), extra=True),
        Family(f"{p}_sent_bytes_total", "counter", "Bytes of responses.", counter(c.BYTES_OUT), extra=True),
        Family(f"{p}_selected_total", "counter", "Times it was chosen, further attempts included.",
               counter(c.SELECTED), extra=True),
        Family(f"{p}_connections_total", "counter", "Connections opened.", counter(c.CONNECTIONS)),
        Family(f"{p}_reused_connections_total", "counter", "Requests on kept connections.", counter(c.REUSED)),
        Family(f"{p}_idle_connections", "gauge", "Idle connections now.", counter(c.IDLE)),
        Family(f"{p}_check_failures_total", "counter", "Failed health checks.",
               lambda row: row.check.failed if row.check else None, extra=True),
        Family(f"{p}_failed_requests_total", "counter", "Attempts that failed.",
               lambda row: region.failures(row.index), extra=True),
        *_failures(p),
        *_hedges(p, extra=True),
    ]  # fmt: skip
    return own + histograms(p, region, past)


def _failures(p: str) -> list[AnyFamily[R]]:
    return [
        Family(f"{p}_connect_errors_total", "counter", "Connections that failed.", counter(c.CONNECT_ERRORS)),
        Family(f"{p}_response_errors_total", "counter", "Responses that failed.", counter(c.RESPONSE_ERRORS)),
        Family(f"{p}_server_aborts_total", "counter", "Responses that a server broke off.", counter(c.SERVER_ABORTS)),
        Family(f"{p}_client_aborts_total", "counter", "Requests whose client left.", counter(c.CLIENT_ABORTS)),
        Family(f"{p}_retries_total", "counter", "Further attempts after a failed one.", counter(c.RETRIES)),
        Family(f"{p}_redispatches_total", "counter", "Further attempts on another server.", counter(c.REDISPATCHES)),
    ]


def _hedges(p: str, *, extra: bool = False) -> list[AnyFamily[R]]:
    return [
        Family(f"{p}_hedges_total", "counter", "Second copies of requests.", counter(c.HEDGES), extra=extra),
        Family(f"{p}_hedges_won_total", "counter", "Second copies that answered first, or alone.",
               counter(c.HEDGES_WON), extra=extra),
    ]  # fmt: skip


def _by_state(row: BackendRow) -> list[tuple[str, float]]:
    counts = dict.fromkeys(STATES, 0)
    for one in row.servers:
        counts[one.state] += 1
    return list(counts.items())


class Exporter:
    """Reads everything once, then writes it."""

    def __init__(self, board: Board, chosen: Filter) -> None:
        self._board = board
        self._chosen = chosen
        self._frontends: list[FrontendRow] = []
        self._backends: list[BackendRow] = []
        self._traffic: dict[int, Any] = {}

    async def read(self) -> None:
        self._frontends = self._board.frontends()
        self._backends = await self._board.backends()
        if has_traffic(self._board.running.service.spec):  # else there is nothing to ask workers for
            self._traffic = await self._board.running.team.ask("traffic")

    def lines(self, openmetrics: bool) -> Iterator[str]:
        """The whole answer in pieces."""
        chosen, region, past = self._chosen, self._board.running.service.region, self._board.running.service.past
        now = time.time()

        def written(families: Sequence[AnyFamily[T]], rows: Sequence[tuple[str, T]]) -> Iterator[str]:
            for family in families:
                if chosen.takes(family):
                    yield family.header(openmetrics)
                    yield from family.lines(rows)

        if chosen.scope("global"):
            yield from written([BUILD], [(f'version="{__version__}",python="{platform.python_version()}"', None)])
            whole = [("", process_of(self._board, self._frontends))]
            yield from written([*process_families(), *haproxy.process_families()], whole)
            members = [(f'worker="{w.slot}"', w) for w in worker_facts(self._board.running)]
            yield from written(worker_families(), members)
            yield from written(step_families(), step_rows(region, [w.slot for _, w in members]))
            yield from written(sync_families(), sync_rows(self._board.running.service.rates.status))
        if chosen.scope("frontend"):
            keeper = self._board.running.service.tls
            yield from written([CERTIFICATES], _certificates(keeper.served()))
            if keeper.acme.orders:
                yield from written(ACME, [(f'name="{escaped(one.names[0])}"', one) for one in keeper.acme.orders])
            if self._traffic:
                yield from written(TRAFFIC[:1], auth_rows(self._traffic))
                yield from written(TRAFFIC[1:], mirror_rows(self._traffic))
            frontends = _labelled(self._frontends)
            yield from written([*frontend_families(region, past), *haproxy.frontend_families()], frontends)
            yield from written(rule_families(), rule_rows(region, self._board.running.service.spec))
        if chosen.scope("backend"):
            backends = _labelled(self._backends)
            yield from written([*backend_families(region, past), *haproxy.backend_families(region, now)], backends)
            sources = [source for row in self._backends for source in row.sources]
            if sources:
                yield from written(discover.FAMILIES, discover.labelled(sources))
        if chosen.scope("server"):
            servers = [
                (f'proxy="{escaped(one.proxy)}",server="{escaped(one.server.name)}"', one)
                for row in self._backends
                for one in row.servers
                if not (chosen.no_maint and one.flags & MAINT)
            ]
            yield from written([*server_families(region, past), *haproxy.server_families(region, now)], servers)
        if openmetrics:
            yield "# EOF\n"


def _certificates(served: Sequence[Served]) -> list[tuple[str, Served]]:
    return [
        (f'proxy="{escaped(one.frontend)}",listen="{escaped(one.address)}",name="{escaped(name)}",'
         f'key="{one.leaf.kind}",serial="{one.leaf.serial}"', one)
        for one in served
        for name in one.leaf.names[:1] or (one.leaf.subject,)
    ]  # fmt: skip


def _labelled(rows: Sequence[R]) -> list[tuple[str, R]]:
    return [(f'proxy="{escaped(row.proxy)}"', row) for row in rows]
