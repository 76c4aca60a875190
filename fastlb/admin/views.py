"""Rows of the board as the API answers them."""

from __future__ import annotations

from datetime import UTC, datetime

from fastlb.admin import words
from fastlb.admin.board import BackendRow, FrontendRow, Row, ServerRow
from fastlb.admin.discover import source_view
from fastlb.admin.metrics_haproxy import CODES
from fastlb.admin.shapes import (
    AgentView,
    AnswerView,
    BackendView,
    ChangeView,
    CheckView,
    Common,
    DifferenceView,
    EventView,
    FrontendView,
    History,
    Latency,
    Quantiles,
    Rates,
    ServerView,
    State,
    WorkerView,
)
from fastlb.admin.workers import WorkerFacts
from fastlb.control import counters as c
from fastlb.control.diff import Difference
from fastlb.control.events import Event
from fastlb.control.region import Region
from fastlb.control.tiers import BACKUP
from fastlb.runtime.actions import Answer, Verdict
from fastlb.runtime.info import shown
from fastlb.spec import ServerChange

SHARES = (0.5, 0.9, 0.99)
# Sums of microseconds are in `latency`, codes in `responses`.
COUNTED = tuple(
    (number, name)
    for number, name in enumerate(c.NAMES)
    if not name.endswith("_us") and name not in CODES and number not in (c.CURRENT, c.OPEN, c.IDLE, c.QUEUED)
)


def moment(seconds: float) -> datetime:
    """time.time() as a date."""
    return datetime.fromtimestamp(seconds, UTC)


def _quantiles(found: tuple[int, list[float]]) -> Quantiles:
    n, (p50, p90, p99) = found
    return {"requests": n, "p50": p50 / 1e6, "p90": p90 / 1e6, "p99": p99 / 1e6}


def latency(row: Row, region: Region) -> Latency:
    """Of one row, as of now."""
    pace = row.pace
    overall = region.quantiles(row.kind, row.index, c.TIME_TOTAL, SHARES)
    if pace is None:
        return {"recent": None, "overall": _quantiles(overall), "means": None}
    queue, connect, response, total = (mean / 1e6 for mean in pace.means)
    return {
        "recent": _quantiles(pace.recent(region, SHARES)),
        "overall": _quantiles(overall),
        "means": {"queue": queue, "connect": connect, "response": response, "total": total},
    }


def _common(row: Row, name: str, region: Region, history: bool) -> Common:
    pace = row.pace
    rates: Rates | None = None
    if pace is not None:
        rates = {
            "requests": pace.rate,
            "requests_max": pace.rate_max,
            "connections": pace.conn_rate,
            "connections_max": pace.conn_rate_max,
        }
    view: Common = {
        "name": name,
        "responses": dict(zip(CODES, row.totals[c.STATUS_1XX : c.STATUS_OTHER + 1], strict=True)),
        "counters": {label: row.totals[number] for number, label in COUNTED},
        "rates": rates,
        "latency": latency(row, region),
    }
    if history and pace is not None:
        requests, p99s = pace.history()
        found: History = {"requests": requests, "p99": [p99 / 1e6 for p99 in p99s]}
        view["history"] = found
    return view


def frontend_view(row: FrontendRow, region: Region, *, history: bool = False) -> FrontendView:
    return {
        **_common(row, row.proxy, region, history),
        "mode": row.frontend.mode.value,
        "listen": [shown(address) for address in row.addresses],
        "backend": row.frontend.backend,
        "connections": row[c.OPEN],
        "max_connections": row.limit,
        "in_flight": row[c.CURRENT],
    }


def server_state(row: ServerRow) -> State:
    """The state in the types of the API."""
    state: State = row.state  # type: ignore[assignment]  # describe() knows no other words
    return state


def _check_view(row: ServerRow) -> CheckView | None:
    status, check = row.check, row.backend.health_check
    if status is None or check is None:
        return None
    last, failure = status.last, status.last_failure
    return {
        "type": check.type,
        "status": words.check_word(status),
        "code": last.code if last else 0,
        "duration": last.duration if last else 0.0,
        "text": words.check_text(last),
        "streak": status.streak,
        "needed": status.needed,
        "rise": check.rise,
        "fall": check.fall,
        "failed": status.failed,
        "last_failure": words.check_text(failure),
        "last_failure_at": moment(status.last_failure_at) if failure else None,
    }


def _agent_view(row: ServerRow) -> AgentView | None:
    status = row.agent
    if status is None:
        return None
    last = status.last
    return {
        "status": words.agent_word(status),
        "duration": last.duration if last else 0.0,
        "line": last.text if last else "",
        "down": status.down,
    }


def server_view(row: ServerRow, region: Region, now: float, *, history: bool = False) -> ServerView:
    standing = row.standing
    return {
        **_common(row, row.server.name, region, history),
        "backend": row.proxy,
        "address": str(row.server.address),
        "source": row.server.source,
        "state": server_state(row),
        "status": words.server_status(row),
        "reason": standing.reason,
        "since": moment(standing.since),
        "backup": row.server.backup,
        "tier": row.server.tier,
        "weight": row.weight,
        "effective_weight": row.effective_weight,
        "max_connections": row.limit,
        "in_flight": row.inflight,
        "idle_connections": row[c.IDLE],
        "downs": standing.downs,
        "downtime": standing.downtime(now),
        "check": _check_view(row),
        "agent": _agent_view(row),
    }


def backend_view(row: BackendRow, region: Region, now: float, *, history: bool = False) -> BackendView:
    standing = row.standing
    states: dict[State, int] = {"UP": 0, "DOWN": 0, "EJECTED": 0, "DRAIN": 0, "MAINT": 0}
    for one in row.servers:
        states[server_state(one)] += 1
    balance = row.backend.balance
    return {
        **_common(row, row.proxy, region, history),
        "mode": row.backend.mode.value,
        "state": "UP" if row.state == "UP" else "DOWN",
        "reason": standing.reason,
        "since": moment(standing.since),
        "algorithm": f"{balance.algorithm} ({balance.method})" if balance.method else balance.algorithm,
        "panic": row.panic,
        "tiers": {"backup" if tier == BACKUP else str(tier): load for tier, load in row.loads.items()},
        "servers": states,
        "discover": [source_view(one) for one in row.sources],
        "in_flight": row[c.CURRENT],
        "queued": row[c.QUEUED],
        "downs": standing.downs,
        "downtime": standing.downtime(now),
    }


def worker_view(worker: WorkerFacts) -> WorkerView:
    return {
        "worker": worker.slot,
        "pid": worker.pid,
        "state": worker.state,  # type: ignore[typeddict-item]  # the supervisor knows no other words
        "starts": worker.starts,
        "since": moment(worker.since) if worker.since else None,
        "beats": worker.beats,
        "beat_age": worker.beat_age,
        "connections": worker.connections,
        "generation": worker.generation,
        "cpu_seconds": worker.cpu_seconds,
        "resident_bytes": worker.resident_bytes,
    }


def event_view(event: Event) -> EventView:
    return {
        "seq": event.seq,
        "at": moment(event.at),
        "kind": event.kind,  # type: ignore[typeddict-item]
        "level": event.level,  # type: ignore[typeddict-item]
        "subject": event.subject,
        "text": event.text,
        "old": event.old,
        "new": event.new,
    }


def _difference_view(difference: Difference) -> DifferenceView:
    return {
        "kind": difference.kind,
        "name": difference.name,
        "what": difference.what.value,
        "fields": [{"name": f.name, "before": f.before, "after": f.after} for f in difference.fields],
        "connections": difference.connections,
        "requests": difference.requests,
        "note": difference.note,
        "text": str(difference),
    }


def change_view(change: ServerChange) -> ChangeView:
    return {
        "backend": change.backend,
        "name": change.name,
        "address": str(change.address),
        "state": change.state.value if change.state else None,
        "weight": change.weight,
        "max_connections": change.max_connections,
        "added": change.added is not None,
        "removed": change.removed,
        "reason": change.reason,
    }


def answer_view(answer: Answer) -> AnswerView:
    """Of an action that was carried out."""
    return {
        "verdict": "done" if answer.verdict is Verdict.DONE else "partly",
        "text": answer.text,
        "generation": answer.generation,
        "warnings": [str(problem) for problem in answer.problems],
        "differences": [_difference_view(difference) for difference in answer.differences],
        "workers": list(answer.workers),
        "confirm_within": answer.confirm_within,
        "changes": [change_view(change) for change in answer.changes],
    }
