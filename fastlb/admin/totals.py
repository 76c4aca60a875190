"""The program as a whole, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastlb.admin.board import Board, FrontendRow
from fastlb.control import counters as c
from fastlb.runtime.extras import Phase


@dataclass(frozen=True, slots=True)
class Process:
    """Sums over all frontends and workers."""

    workers: int  # processes; 0 = all in one
    uptime: float
    started_at: float
    descriptors: int
    max_connections: int  # of one worker
    listeners: int
    stopping: bool
    connections: int
    connections_total: int
    requests_total: int
    bytes_in: int
    bytes_out: int
    connection_rate: float
    request_rate: float
    generation: int
    reloads: int
    spans_exported: int
    spans_dropped: int


def process_of(board: Board, frontends: Sequence[FrontendRow]) -> Process:
    """Figures that belong to the same moment as the rows."""
    running = board.running
    service = running.service
    return Process(
        workers=service.workers,
        uptime=board.up_seconds,
        started_at=running.started_at,
        descriptors=service.descriptors,
        max_connections=service.max_connections,
        listeners=service.listeners.count() * max(1, service.workers),
        stopping=running.phase is Phase.DRAINING,
        connections=sum(row[c.OPEN] for row in frontends),
        connections_total=sum(row[c.CONNECTIONS] for row in frontends),
        requests_total=sum(row[c.REQUESTS] for row in frontends),
        bytes_in=sum(row[c.BYTES_IN] for row in frontends),
        bytes_out=sum(row[c.BYTES_OUT] for row in frontends),
        connection_rate=sum(row.pace.conn_rate for row in frontends if row.pace),
        request_rate=sum(row.pace.rate for row in frontends if row.pace),
        generation=service.assignment.generation,
        reloads=service.past.reloads + service.reloads,
        spans_exported=service.spans.exported,
        spans_dropped=service.spans.dropped,
    )
