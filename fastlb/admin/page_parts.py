"""Cells and rows of the stats page."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from fastlb.admin import figures as f
from fastlb.admin.board import BackendRow, FrontendRow, Row, ServerRow
from fastlb.admin.metrics_haproxy import CODES
from fastlb.control import counters as c
from fastlb.control.region import FULL_RAMP, Region
from fastlb.control.state_book import Standing
from fastlb.runtime.info import shown

# Word and sign of each state: the sign tells them apart where colours do not.
SIGNS = {"UP": "●", "DOWN": "▼", "EJECTED": "◆", "DRAIN": "◐", "MAINT": "■"}
STATE_WORDS = {"EJECTED": "Ejected", "DRAIN": "Drain", "MAINT": "Maint", "UP": "Up", "DOWN": "Down"}
SPANS = (("c2", 1), ("c3", 2), ("c4", 3), ("c5", 4), ("cx", 0), ("cx", 5))  # classes of the style sheet, index in CODES

ACTIONS = (("ready", "Ready"), ("drain", "Drain"), ("maint", "Maint"))


def cell(label: str, content: str, name: str = "") -> str:
    """A table cell; `label` stands before it on narrow screens."""
    cls = f' class="{name}"' if name else ""
    return f'<td role="cell" data-label="{f.text(label)}"{cls}>{content}</td>'


def heads(*columns: tuple[str, str]) -> str:
    """The head of a table: (title, class of its cells)."""
    cells = "".join(
        f'<th role="columnheader" scope="col" class="{name}">{f.text(title)}</th>' for title, name in columns
    )
    return f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead>'


def pill(state: str) -> str:
    """The state in a coloured word."""
    sign = f'<i aria-hidden="true">{SIGNS[state]}</i>'
    return f'<span class="pill s-{state.lower()}">{sign}{STATE_WORDS[state]}</span>'


def state_cell(state: str, standing: Standing, now: float, extra: str = "") -> str:
    """State, since when, and why."""
    since = f'<span class="since">for {f.age(now - standing.since)}</span>'
    reason = f'<span class="reason">{f.text(standing.reason)}</span>' if standing.reason else ""
    return cell("State", f'<span class="one-line">{pill(state)} {since}</span>{extra}{reason}', "state")


def load_cell(label: str, now: int, limit: int, most: int, unit: str) -> str:
    """How many now, against a limit where there is one, and the most so far."""
    figure = f"<b>{f.count(now)}</b>"
    if limit:
        figure += f' <span class="of">of {f.count(limit)}</span>'
    figure += f.bar(now, limit, f"{now} of {limit} {unit}")
    return cell(label, f'{figure}<span class="sub">most {f.count(most)}</span>', "load")


def rate_cell(row: Row) -> str:
    """Requests a second with two minutes of history."""
    pace = row.pace
    if pace is None:
        return cell("Requests/s", '<span class="sub">not sampled</span>', "graph")
    rates, _ = pace.history()
    what = f"Requests per second over two minutes: now {f.rate(pace.rate)}, most {f.rate(max(rates, default=0))}"
    return cell(
        "Requests/s",
        f'{f.spark(rates, "rate", what)}<span class="figure"><b>{f.rate(pace.rate)}</b>'
        f'<span class="sub">most {f.rate(pace.rate_max)}</span></span>',
        "graph",
    )


def latency_cell(row: Row, region: Region) -> str:
    """p99 of the last half minute with two minutes of history, and the median."""
    pace = row.pace
    if pace is None:
        _, (p50, p99) = region.quantiles(row.kind, row.index, c.TIME_TOTAL, (0.5, 0.99))
        history: list[float] = []
    else:
        _, (p50, p99) = pace.recent(region, (0.5, 0.99))
        history = pace.history()[1]
    what = f"99th percentile of the time of a request over two minutes: now {f.duration(p99 / 1e6)}"
    sub = f'<span class="sub">median {f.duration(p50 / 1e6)}</span>' if p50 else ""
    return cell(
        "p99",
        f'{f.spark(history, "time", what, gaps=True)}<span class="figure"><b>{f.duration(p99 / 1e6)}</b>{sub}</span>',
        "graph",
    )


def responses_cell(row: Row) -> str:
    """How many requests ended, and how."""
    codes = row.totals[c.STATUS_1XX : c.STATUS_OTHER + 1]
    parts = [(name, codes[index]) for name, index in SPANS]
    told = ", ".join(f"{code} {n:,}" for code, n in zip(CODES, codes, strict=True) if n) or "none"
    notes = "".join(
        f'<span class="{name}">{code} {f.count(n)}</span>'
        for name, code, n in (("c4", "4xx", codes[3]), ("c5", "5xx", codes[4]))
        if n
    )
    below = f'<span class="sub codes">{notes or "no errors"}</span>'
    return cell("Requests", f"<b>{f.count(row[c.REQUESTS])}</b>{f.shares(parts, told)}{below}", "load")


def errors_cell(row: Row, *, server: bool) -> str:
    """What went wrong, where something did."""
    found = [
        ("bad", "connect", row[c.CONNECT_ERRORS]),
        ("bad", "response", row[c.RESPONSE_ERRORS]),
        ("bad", "broken off", row[c.SERVER_ABORTS]),
        ("", "client left", row[c.CLIENT_ABORTS]),
        ("", "retried", row[c.RETRIES]),
    ]
    if not server:
        found.append(("", "redispatched", row[c.REDISPATCHES]))
    items = "".join(f'<li class="{name}"><b>{f.count(n)}</b> {word}</li>' for name, word, n in found if n)
    return cell("Errors", f"<ul>{items}</ul>" if items else '<span class="sub">none</span>', "list")


def traffic_cell(row: Row, name: str) -> str:
    """Bytes from and to clients. `name`: class of the cell."""
    return cell(
        "Traffic",
        f'<span class="one-line">{f.size(row[c.BYTES_IN])} <span class="sub">in</span></span>'
        f'<span class="one-line">{f.size(row[c.BYTES_OUT])} <span class="sub">out</span></span>',
        name,
    )


def server_link(row: ServerRow) -> str:
    """Address of the page of one server."""
    return f"/stats?backend={quote(row.proxy, safe='')}&amp;server={quote(row.server.name, safe='')}"


def api_path(row: ServerRow) -> str:
    """Where a change of the server goes."""
    return f"/v1/backends/{quote(row.proxy, safe='')}/servers/{quote(row.server.name, safe='')}"


def actions_buttons(row: ServerRow, changes: str, others: int) -> str:
    """Three buttons, one of them pressed. `others`: usable servers of the backend beside this one."""
    if changes == "no":
        return ""
    now = {"DRAIN": "drain", "MAINT": "maint"}.get(row.state, "ready")
    name = f.text(f"{row.proxy}/{row.server.name}")
    last = ' data-last="1"' if row.usable and not others else ""
    buttons = "".join(
        f'<button type="button" data-state="{state}" aria-pressed="{"true" if state == now else "false"}"'
        f' aria-label="{word} {name}">{word}</button>'
        for state, word in ACTIONS
    )
    return (
        f'<div class="switch" role="group" data-path="{f.text(api_path(row))}" data-name="{name}"{last}>{buttons}</div>'
    )


def actions_cell(row: ServerRow, changes: str, others: int) -> str:
    """The buttons as a cell; none where nothing may be changed."""
    return cell("Set", actions_buttons(row, changes, others), "set") if changes != "no" else ""


def weight_cell(row: ServerRow) -> str:
    if row.ramp < FULL_RAMP and row.weight:
        share = row.ramp * 100 // FULL_RAMP
        return cell("Weight", f'<b>{row.weight}</b><span class="sub">starts slowly, {share}%</span>', "number")
    return cell("Weight", f"<b>{row.weight}</b>", "number")


def check_cell(row: ServerRow) -> str:
    """The last health check, and the one that failed last."""
    status = row.check
    if status is None:
        return cell("Check", '<span class="sub">not checked</span>', "list")
    last = status.last
    if last is None:
        return cell("Check", '<span class="sub">not yet</span>', "list")
    good = "ok" if last.good else "bad"
    code = f" {last.code}" if last.code else ""
    took = f.duration(last.duration) if last.duration else "< 1 ms"
    head = f'<span class="one-line"><b class="{good}">{last.word}{code}</b> {took}</span>'
    if status.streak:
        turn = "down" if status.up else "up"
        return cell("Check", f'{head}<span class="sub">{status.streak} of {status.needed} to {turn}</span>', "list")
    if status.failed:
        return cell("Check", f'{head}<span class="sub">{f.count(status.failed)} failed so far</span>', "list")
    return cell("Check", head, "list")


def server_row(row: ServerRow, region: Region, now: float, changes: str, others: int) -> str:
    """One line of a backend's table."""
    tag = ' <span class="tag">backup</span>' if row.server.backup else ""
    address = str(row.server.address)
    below = f'<span class="address">{f.text(address)}</span>' if address != row.server.name else ""
    if row.server.source and row.server.resolved:
        below += f'<span class="address">of {f.text(row.server.source)}</span>'
    extra = '<span class="reason">the name has no address</span>' if not row.server.resolved else ""
    return (
        f'<tr role="row" data-key="{f.text(str(row.server.address))}" class="r-{row.state.lower()}">'
        '<th role="rowheader" scope="row">'
        f'<a href="{server_link(row)}">{f.text(row.server.name)}</a>{tag}{below}</th>'
        + state_cell(row.state, row.standing, now, extra)
        + load_cell("In flight", row.inflight, row.limit, row.peak, "requests in flight")
        + rate_cell(row)
        + latency_cell(row, region)
        + responses_cell(row)
        + errors_cell(row, server=True)
        + weight_cell(row)
        + traffic_cell(row, "list room")
        + check_cell(row)
        + actions_cell(row, changes, others)
        + "</tr>"
    )


def backend_total(row: BackendRow, region: Region, changes: str) -> str:
    """The last line of a backend's table: the backend itself."""
    queue = cell(
        "Queue",
        f'<b>{f.count(row[c.QUEUED])}</b> <span class="of">waiting</span>'
        f'<span class="sub">most {f.count(row[c.QUEUE_PEAK])}</span>',
        "load",
    )
    limits = [one.limit for one in row.servers]
    whole = sum(limits) if limits and all(limits) else 0
    return (
        '<tfoot role="rowgroup"><tr role="row"><th role="rowheader" scope="row">All</th>'
        + queue
        + load_cell("In flight", row[c.CURRENT], whole, row[c.PEAK], "requests in flight")
        + rate_cell(row)
        + latency_cell(row, region)
        + responses_cell(row)
        + errors_cell(row, server=False)
        + cell("Weight", f"<b>{sum(one.effective_weight for one in row.servers if one.usable)}</b>", "number")
        + traffic_cell(row, "list room")
        + cell("Check", "", "list")
        + (cell("Set", "", "set") if changes != "no" else "")
        + "</tr></tfoot>"
    )


def frontend_row(row: FrontendRow, region: Region) -> str:
    refused = [("bad requests", row[c.BAD_REQUESTS]), ("denied", row[c.DENIED]), ("client left", row[c.CLIENT_ABORTS])]
    items = "".join(f"<li><b>{f.count(n)}</b> {word}</li>" for word, n in refused if n)
    local = row[c.INTERCEPTED]
    if local:
        items += f"<li><b>{f.count(local)}</b> answered here</li>"
    addresses = "".join(f'<span class="address">{f.text(shown(address))}</span>' for address in row.addresses)
    routes = len(row.frontend.routes)
    where = f.text(row.frontend.backend) if row.frontend.backend else "404"
    goes = f"{routes} route{'s' if routes > 1 else ''}, else {where}" if routes else f"to {where}"
    return (
        f'<tr role="row" data-key="{f.text(row.proxy)}">'
        f'<th role="rowheader" scope="row">{f.text(row.proxy)}{addresses}</th>'
        + cell("Goes", goes, "list")
        + load_cell("Connections", row[c.OPEN], row.limit, row[c.PEAK], "client connections")
        + rate_cell(row)
        + latency_cell(row, region)
        + responses_cell(row)
        + cell("Refused", f"<ul>{items}</ul>" if items else '<span class="sub">none</span>', "list")
        + cell("In flight", f"<b>{f.count(row[c.CURRENT])}</b>", "number")
        + traffic_cell(row, "list")
        + cell(
            "New/s",
            f'<b>{f.rate(row.pace.conn_rate)}</b><span class="sub">most {f.rate(row.pace.conn_rate_max)}</span>'
            if row.pace
            else "",
            "load",
        )
        + "</tr>"
    )


def state_line(rows: Sequence[ServerRow]) -> str:
    """'3 up, 1 down'."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    names = ("UP", "DOWN", "EJECTED", "DRAIN", "MAINT")
    return ", ".join(f"{f.count(counts[s])} {STATE_WORDS[s].lower()}" for s in names if s in counts) or "no server"


def check_text(row: ServerRow) -> str:
    """How the server is checked."""
    check = row.backend.health_check
    if check is None:
        return "not checked"
    if check.type == "http":
        what = f"{check.method} {check.path.partition('?')[0]}"  # everybody may read this
    elif check.type == "tcp":
        what = "send and receive" if check.send or check.receive else "connect"
    else:
        what = check.command[0] if check.command else check.type
    tls = " over TLS" if check.tls is not None else ""
    return f"{what}{tls} every {check.interval:g} s, rise {check.rise}, fall {check.fall}"
