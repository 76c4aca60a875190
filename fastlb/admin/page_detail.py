"""The page of one server: every fact there is about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from fastlb.admin import figures as f
from fastlb.admin import page_parts as parts
from fastlb.admin import words
from fastlb.admin.board import BackendRow, ServerRow
from fastlb.admin.metrics_haproxy import CODES
from fastlb.control import counters as c
from fastlb.control.events import Event
from fastlb.control.region import Region

TIMES = (("Queue", c.TIME_QUEUE), ("Connect", c.TIME_CONNECT), ("Response", c.TIME_RESPONSE), ("Total", c.TIME_TOTAL))
SHARES = (0.5, 0.9, 0.99, 0.999, 1.0)


def facts(title: str, items: Sequence[tuple[str, str]]) -> str:
    """A group of names and values."""
    lines = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in items)
    return f'<section class="facts"><h3>{title}</h3><dl>{lines}</dl></section>'


def clock(at: float) -> str:
    """A moment, machine-readable as well."""
    moment = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%Y-%m-%d %H:%M:%S} UTC</time>'


def event_item(event: Event, now: float) -> str:
    """A line of the list of events."""
    moment = datetime.fromtimestamp(event.at, UTC)
    change = f"{event.old} → {event.new}: " if event.new else ""
    return (
        f'<li data-key="{event.seq}" class="e-{f.text(event.level)}">'
        f'<time datetime="{moment.isoformat(timespec="seconds")}"'
        f' title="{moment:%Y-%m-%d %H:%M:%S} UTC">{f.age(now - event.at)} ago</time>'
        f" <b>{f.text(event.subject)}</b> <span>{f.text(change + event.text)}</span></li>"
    )


def render(
    backend: BackendRow, row: ServerRow, region: Region, events: Sequence[Event], now: float, changes: str
) -> Iterator[str]:
    """The main part of the page."""
    name = f"{row.proxy}/{row.server.name}"
    others = sum(one.usable for one in backend.servers) - row.usable
    yield '<p class="crumbs"><a href="/stats">All</a> › '
    yield f'<a href="/stats?backend={f.text(row.proxy)}">{f.text(row.proxy)}</a></p>'
    yield f'<header class="group"><h2>{f.text(name)}</h2>{parts.pill(row.state)}'
    reason = f": {f.text(row.standing.reason)}" if row.standing.reason else ""
    yield f'<p class="why">for {f.age(now - row.standing.since)}{reason}</p>'
    yield f'<div class="own">{parts.actions_buttons(row, changes, others)}</div></header>'
    yield from _charts(row)
    yield '<div class="grid">'
    yield _identity(row)
    yield _load(row)
    yield _requests(row)
    yield _failures(row)
    yield _health(row, now)
    yield _latencies(row, region)
    yield "</div>"
    own = [event for event in events if event.subject == name][:50]
    if own:
        yield '<section class="events"><h3>What happened</h3><ol>'
        yield "".join(event_item(event, now) for event in own)
        yield "</ol></section>"


def _charts(row: ServerRow) -> Iterator[str]:
    if row.pace is None:
        return
    rates, p99s = row.pace.history()
    top, slow = max(rates, default=0.0), max(p99s, default=0.0) / 1e6
    for title, values, kind, most in (
        ("Requests/s", rates, "rate", f.rate(top)),
        ("p99", p99s, "time", f.duration(slow)),
    ):
        what = f"{title} over the last two minutes, most {most}"
        chart = f.spark(values, kind, what, gaps=kind == "time", wide=True)
        caption = f'{title} <span class="sub">two minutes, most {most}</span>'
        yield f"<figure><figcaption>{caption}</figcaption>{chart}</figure>"


def _identity(row: ServerRow) -> str:
    found = row.server.resolved[0][1] if row.server.resolved else None
    where = "not found" if found is None else found if isinstance(found, str) else f"{found[0]} port {found[1]}"
    return facts(
        "Server",
        [
            ("Address", f.text(str(row.server.address))),
            ("Found at", f.text(where)),
            *([("Discovered by", f.text(row.server.source))] if row.server.source else []),
            ("Tier", "backup" if row.server.backup else "main"),
            ("Weight", f"{row.weight}" + (f", in effect {row.effective_weight}" if row.ramp < 65536 else "")),
            ("Last change", clock(row.standing.since)),
        ],
    )


def _load(row: ServerRow) -> str:
    pace = row.pace
    return facts(
        "Load",
        [
            ("In flight", f"{f.count(row.inflight)} of {f.count(row.limit)}" if row.limit else f.count(row.inflight)),
            ("Most in flight", f.count(row.peak)),
            ("Requests/s", f"{f.rate(pace.rate)}, most {f.rate(pace.rate_max)}" if pace else "not sampled"),
            ("New connections/s", f"{f.rate(pace.conn_rate)}, most {f.rate(pace.conn_rate_max)}" if pace else "–"),
            ("Idle connections", f"{f.count(row[c.IDLE])} of {f.count(row.pool_limit)}"),
            ("Connections opened", f.count(row[c.CONNECTIONS])),
            ("Requests on kept ones", f.count(row[c.REUSED])),
            ("Bytes in", f.size(row[c.BYTES_IN])),
            ("Bytes out", f.size(row[c.BYTES_OUT])),
        ],
    )


def _requests(row: ServerRow) -> str:
    codes = row.totals[c.STATUS_1XX : c.STATUS_OTHER + 1]
    names = [code if code != "other" else "no response" for code in CODES]
    return facts(
        "Requests",
        [
            ("Ended", f.count(row[c.REQUESTS])),
            ("Chosen", f.count(row[c.SELECTED])),
            *((name, f.count(n)) for name, n in zip(names, codes, strict=True)),
        ],
    )


def _failures(row: ServerRow) -> str:
    return facts(
        "Errors",
        [
            ("Connections failed", f.count(row[c.CONNECT_ERRORS])),
            ("Responses failed", f.count(row[c.RESPONSE_ERRORS])),
            ("Broken off by the server", f.count(row[c.SERVER_ABORTS])),
            ("Client left", f.count(row[c.CLIENT_ABORTS])),
            ("Retried", f.count(row[c.RETRIES])),
            ("Sent to another server", f.count(row[c.REDISPATCHES])),
        ],
    )


def _health(row: ServerRow, now: float) -> str:
    status = row.check
    items = [("Check", f.text(parts.check_text(row)))]
    if status is not None:
        items.append(("Last result", f.text(words.check_text(status.last)) or "not yet"))
        items.append(("In a row against the state", f"{status.streak} of {status.needed}"))
        items.append(("Failed so far", f.count(status.failed)))
        if status.last_failure is not None:
            items.append(
                (
                    "Last failure",
                    f"{f.text(words.check_text(status.last_failure))}, {f.age(now - status.last_failure_at)} ago",
                )
            )
    if row.agent is not None:
        last = row.agent.last
        said = f": {last.text}" if last and last.text else ""
        items.append(("Agent", f.text(words.check_text(last) + said) or "not asked yet"))
    items.append(("Went down", f"{f.count(row.standing.downs)} times"))
    items.append(("Was down for", f.age(row.standing.downtime(now))))
    return facts("Health", items)


def _latencies(row: ServerRow, region: Region) -> str:
    """Percentiles of each phase since the start."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", "mean", "p50", "p90", "p99", "p99.9", "longest"))
    lines = []
    for name, which in TIMES:
        n, values = region.quantiles(row.kind, row.index, which, SHARES)
        mean = row[c.QUEUE_US + which] / n if n else 0.0
        cells = "".join(f"<td>{f.duration(us / 1e6)}</td>" for us in (mean, *values))
        lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return (
        '<section class="facts wide"><h3>Times since the start</h3><table class="times">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></section>"
    )
