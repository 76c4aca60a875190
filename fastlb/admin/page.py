"""/stats: the page for people. Whole HTML from here, readable without JavaScript; the script only fetches it again.

One document: style and script stand in it, allowed by their hashes in the Content-Security-Policy; nothing is loaded
from anywhere. `?part=main` is what changes from second to second: the script asks for it and takes over what differs.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from urllib.parse import urlencode

from fastlb import __version__
from fastlb.admin import figures as f
from fastlb.admin import page_detail
from fastlb.admin import page_parts as parts
from fastlb.admin.board import BackendRow, FrontendRow, ServerRow
from fastlb.admin.context import Context
from fastlb.admin.totals import process_of
from fastlb.admin.workers import worker_facts
from fastlb.control import counters as c
from fastlb.runtime.extras import Phase

SHOWN = 100  # servers of a backend on the page of all
PAGE = 200  # on the page of one backend
EVENTS = 30

STYLE = files("fastlb.admin").joinpath("page.css").read_text(encoding="utf-8")
SCRIPT = files("fastlb.admin").joinpath("page.js").read_text(encoding="utf-8")
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%23116149'/%3E"
    "%3Cpath d='M4 8h3l5-4M7 8h5M7 8l5 4' stroke='%23fff' stroke-width='1.6' fill='none'/%3E%3C/svg%3E"
)


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; connect-src 'self'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Query:
    """What of the page is asked for."""

    def __init__(self, backend: str = "", server: str = "", q: str = "", state: str = "", page: int = 1) -> None:
        self.backend = backend
        self.server = server
        self.q = q.strip().lower()
        self.state = state if state in parts.SIGNS else ""
        self.page = max(1, page)

    @property
    def filtered(self) -> bool:
        return bool(self.q or self.state)

    def takes(self, row: ServerRow) -> bool:
        """Whether a server is among those asked for."""
        if self.state and row.state != self.state:
            return False
        return self.q in f"{row.proxy}/{row.server.name} {row.server.address}".lower()

    def link(self, page: int) -> str:
        """Address of another page of the same."""
        given = {"backend": self.backend, "q": self.q, "state": self.state, "page": page if page > 1 else ""}
        return f.text("/stats?" + urlencode({key: value for key, value in given.items() if value}))


async def render(context: Context, query: Query, changes: str, *, whole: bool) -> AsyncIterator[str]:
    """The document, or with `whole` false its main part alone, in pieces."""
    now = time.time()
    board = context.board
    frontends = board.frontends()
    every = await board.backends()
    backends = [row for row in every if row.proxy == query.backend] if query.backend else every
    if whole:
        yield _head(query, changes)
    yield _main_start(context, frontends, every, now)
    if query.server:
        for row in backends:
            for one in row.servers:
                if one.server.name == query.server:
                    board.sampler.want([one.index])
                    events = context.events.newest(1000)
                    yield "".join(page_detail.render(row, one, context.region, events, now, changes))
    else:
        if not query.backend and not query.filtered:
            yield _frontends(context, frontends)
        for row in backends:
            async for piece in _backend(context, row, query, now, changes):
                yield piece
        if query.filtered and not any(query.takes(one) for row in backends for one in row.servers):
            yield '<p class="empty">No server fits.</p>'
        if not query.backend:
            yield _events(context, now)
    yield "</main>"
    if whole:
        yield _foot()


def _head(query: Query, changes: str) -> str:
    options = "".join(
        f'<option value="{state}"{" selected" if query.state == state else ""}>{parts.STATE_WORDS[state]}</option>'
        for state in parts.SIGNS
    )
    rights = {"no": "read only", "token": "changes need the token", "yes": "changes allowed"}[changes]
    hidden = f'<input type="hidden" name="backend" value="{f.text(query.backend)}">' if query.backend else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>fastlb on {f.text(socket.gethostname())}</title><link rel="icon" href="{f.text(ICON)}">'
        f"<style>{STYLE}</style></head><body>"
        '<a class="skip" href="#main">To the tables</a>'
        '<header class="top"><h1><a href="/stats">fastlb</a> <span>on '
        f"{f.text(socket.gethostname())}</span></h1>"
        '<form role="search" action="/stats">'
        f'{hidden}<input type="search" name="q" value="{f.text(query.q)}" placeholder="Server or address"'
        ' aria-label="Server or address"><select name="state" aria-label="State"><option value="">Any state</option>'
        f'{options}</select><button type="submit">Find</button></form>'
        f'<div class="tools"><span class="rights">{rights}</span>'
        '<button type="button" id="forget" hidden>Forget token</button>'
        '<button type="button" id="live" hidden aria-pressed="true">Live</button></div></header>'
        '<p id="notice" role="status" aria-live="polite"></p>'
    )


def _foot() -> str:
    return (
        '<footer class="bottom"><nav aria-label="For programs"><a href="/metrics">Prometheus metrics</a> '
        '<a href="/stats;csv">CSV</a> <a href="/v1/openapi.json">API</a> <a href="/v1/events">Events</a></nav></footer>'
        '<dialog id="ask"><form method="dialog"><h2></h2><p></p><label>Token '
        '<input type="password" autocomplete="off" spellcheck="false"></label>'
        '<div><button type="button">Cancel</button><button value="yes" class="go">Go on</button></div>'
        f"</form></dialog><script>{SCRIPT}</script></body></html>"
    )


def _main_start(context: Context, frontends: Sequence[FrontendRow], backends: Sequence[BackendRow], now: float) -> str:
    """The opening tag with what the title says, then the figures of the whole."""
    process = process_of(context.board, frontends)
    servers = [one for row in backends for one in row.servers]
    down = sum(one.state in ("DOWN", "EJECTED") for one in servers)
    phase = context.running.phase
    state = "Draining" if phase is Phase.DRAINING else "Ready" if context.ready else "Starting"
    sign = "s-up" if state == "Ready" else "s-drain"
    slow = [row.pace.recent(context.region, (0.99,))[1][0] for row in frontends if row.pace]
    tiles = [
        ("Requests/s", f.rate(process.request_rate), f"{f.count(process.requests_total)} so far"),
        ("Slowest p99", f.duration(max(slow, default=0.0) / 1e6), "of the frontends, half a minute"),
        ("Connections", f.count(process.connections), f"{f.rate(process.connection_rate)} new/s"),
        ("Traffic out", f.size(process.bytes_out), f"{f.size(process.bytes_in)} in"),
        ("Servers", f"{f.count(sum(one.usable for one in servers))} of {f.count(len(servers))}", "in use"),
        ("Up for", f.age(context.board.up_seconds), f"configuration {process.generation}"),
    ]
    figures = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}<span class="sub">{below}</span></dd></div>'
        for name, value, below in tiles
    )
    workers = "".join(
        f'<li class="w-{worker.state}"><b>Worker {worker.slot}</b> {worker.state}'
        + (f", pid {worker.pid}" if worker.pid else "")
        + f", {f.count(worker.connections)} conn., {f.size(worker.resident_bytes)}"
        + (f", started {worker.starts} times" if worker.starts > 1 else "")
        + "</li>"
        for worker in worker_facts(context.running)
    )
    title = f"{down} down – fastlb" if down else "fastlb"
    return (
        f'<main id="main" data-title="{f.text(title)}"><section class="sum" aria-label="The whole">'
        f'<p class="phase"><span class="pill {sign}">{state}</span> '
        f"version {__version__}, pid {context.running.pid}</p>"
        f'<dl class="tiles">{figures}</dl><ul class="workers">{workers}</ul></section>'
    )


def _frontends(context: Context, rows: Sequence[FrontendRow]) -> str:
    head = parts.heads(
        ("Frontend", "w-name"), ("Goes", "w-state"), ("Connections", "w-load"), ("Requests/s", "w-graph"),
        ("p99", "w-time"), ("Requests", "w-count"), ("Refused", "w-list"), ("In flight", "w-small number"),
        ("Traffic", "w-list"), ("New/s", "w-set"),
    )  # fmt: skip
    body = "".join(parts.frontend_row(row, context.region) for row in rows)
    return (
        '<section class="block"><header class="group"><h2>Frontends</h2></header><div class="scroll">'
        f'<table role="table" class="board"><caption>Frontends</caption>{head}'
        f'<tbody role="rowgroup">{body}</tbody></table></div></section>'
    )


async def _backend(context: Context, row: BackendRow, query: Query, now: float, changes: str) -> AsyncIterator[str]:
    rows = [one for one in row.servers if query.takes(one)] if query.filtered else row.servers
    if query.filtered and not rows:
        return
    pages, room = 1, PAGE if query.backend else SHOWN
    hidden = ""
    if len(rows) > room:
        rows = sorted(
            rows, key=lambda one: one.state == "UP"
        )  # what is not well first; sorting keeps the order otherwise
        if query.backend:
            pages = -(-len(rows) // room)
            first = (min(query.page, pages) - 1) * room
        else:
            first = 0
            hidden = f'<p class="more">{room} of {len(rows):,} servers, those that are not up first. '
            hidden += f'<a href="/stats?backend={f.text(row.proxy)}">All of them</a></p>'
        shown_rows = rows[first : first + room]
    else:
        shown_rows = rows
    context.board.sampler.want(one.index for one in shown_rows)
    for one in shown_rows:
        one.pace = context.board.sampler.pace("server", one.index)
    balance = row.backend.balance
    algorithm = f"{balance.algorithm} ({balance.method})" if balance.method else balance.algorithm
    panic = '<span class="pill s-down"><i aria-hidden="true">▲</i>Panic: all are used</span>' if row.panic else ""
    since = f"for {f.age(now - row.standing.since)}"
    why = f", {f.text(row.standing.reason)}" if row.standing.reason else ""
    columns = [
        ("Server", "w-name"), ("State", "w-state"), ("In flight", "w-load"), ("Requests/s", "w-graph"),
        ("p99", "w-time"), ("Requests", "w-count"), ("Errors", "w-list"), ("Weight", "w-small number"),
        ("Traffic", "w-list room"), ("Check", "w-check"),
    ]  # fmt: skip
    if changes != "no":
        columns.append(("Set to", "w-set"))
    yield (
        f'<section class="block" id="b-{f.text(row.proxy)}"><header class="group">'
        f'<h2><a href="/stats?backend={f.text(row.proxy)}">{f.text(row.proxy)}</a></h2>{parts.pill(row.state)}{panic}'
        f'<p class="why">{since}{why}</p><p class="what">{parts.state_line(row.servers)} · {f.text(algorithm)}'
        f' · queue {f.count(row[c.QUEUED])}</p></header><div class="scroll"><table role="table" class="board">'
        f'<caption>Servers of {f.text(row.proxy)}</caption>{parts.heads(*columns)}<tbody role="rowgroup">'
    )
    usable = sum(one.usable for one in row.servers)
    for start in range(0, len(shown_rows), 25):
        yield "".join(
            parts.server_row(one, context.region, now, changes, usable - one.usable)
            for one in shown_rows[start : start + 25]
        )
    yield f"</tbody>{parts.backend_total(row, context.region, changes)}</table></div>{hidden}"
    if pages > 1:
        yield '<nav class="pages" aria-label="Pages">'
        yield " ".join(
            f'<a href="{query.link(n)}"{" aria-current=page" if n == min(query.page, pages) else ""}>{n}</a>'
            for n in range(1, pages + 1)
        )
        yield "</nav>"
    yield "</section>"


def _events(context: Context, now: float) -> str:
    found = context.events.newest(EVENTS)
    if not found:
        return ""
    items = "".join(page_detail.event_item(event, now) for event in found)
    return f'<section class="events" aria-label="Events"><h2>What happened</h2><ol>{items}</ol></section>'
