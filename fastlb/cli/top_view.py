"""What `fastlb top` looks like: a snapshot and what was typed become lines of styled text. Knows no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .output import age, amount, moments, plural, safe
from .top_data import Change, News, Row, Snapshot

Line = list[tuple[str, str]]  # (text, style); styles: '', head, bold, good, warn, bad, dim, bar, chosen
STATES = {"UP": "good", "DOWN": "bad", "EJECTED": "bad", "DRAIN": "warn", "MAINT": "warn"}
WORDS = {"d": "drain", "r": "ready", "m": "maint"}
SMALLEST = (28, 6)  # columns and lines that still say something
FRONTENDS = 4  # lines at most
BLOCKS = " ▏▎▍▌▋▊▉█"
HELP = [
    "arrows, j k, PgUp PgDn, Home End   move",
    "d   drain: no new requests, what is in flight ends",
    "m   maintenance: the same, shown as such",
    "r   ready: may get requests",
    "s   next order: o configured, n name, t requests a second,",
    "    l p99, c in flight, e errors",
    "/   only servers whose name holds a text; Esc drops it",
    "p   pause         Space   look again now",
    "q   quit          any key leaves this page",
]

SORTS: dict[str, Callable[[Row], Any]] = {
    "configured": lambda row: 0,
    "name": lambda row: (row.told["backend"], row.name),
    "rate": lambda row: -row.rate,
    "p99": lambda row: -row.p99,
    "in flight": lambda row: -row.in_flight,
    "errors": lambda row: -row.errors,
}
SORT_KEYS = {"o": "configured", "n": "name", "t": "rate", "l": "p99", "c": "in flight", "e": "errors"}


class Column(NamedTuple):
    """Of the table of servers."""

    title: str
    width: int
    need: int  # columns are left out from the highest need on where the terminal is narrow
    text: Callable[[Row], str]


COLUMNS = (
    Column("state", 7, 0, lambda row: str(row.told["state"])),
    Column("req/s", 6, 1, lambda row: amount(row.rate)),
    Column("flight", 6, 2, lambda row: str(row.in_flight)),
    Column("p99", 7, 3, lambda row: moments(row.p99)),
    Column("5xx/s", 6, 4, lambda row: amount(row.errors)),
    Column("p50", 7, 5, lambda row: moments(row.p50)),
    Column("weight", 6, 6, lambda row: str(row.told["effective_weight"])),
)
NAME, BAR = 12, 8  # least widths


@dataclass(slots=True)
class Ui:
    """What was typed so far."""

    sort: str = "configured"
    needle: str = ""
    typing: bool = False  # a needle is being typed
    asking: Change | None = None  # waits for y
    help: bool = False
    paused: bool = False
    chosen: tuple[str, str] | None = None  # (backend, address) of the server with the cursor
    top: int = 0  # first line of the table that is shown
    note: str = ""  # said once
    over: bool = False
    seen: int = 0  # number of the change whose message was shown last
    read: int = 0  # number of the last one whose message a key has put away
    _rows: list[Row] = field(default_factory=list)  # as shown last

    def rows(self, snapshot: Snapshot) -> list[Row]:
        """The servers that are shown, in order. The cursor stays on its server wherever that moves."""
        rows = [row for row in snapshot.servers if self.needle.lower() in f"{row.told['backend']}/{row.name}".lower()]
        rows.sort(key=SORTS[self.sort])
        self._rows = rows
        if rows and self.chosen not in (found := [_identity(row) for row in rows]):
            self.chosen = found[0]
        return rows

    def key(self, name: str, page: int = 10) -> Change | None:
        """What a key does: a change to carry out, or None. `name` is a character, or a word such as 'down'."""
        self.note = ""
        self.read = self.seen
        if self.typing:
            self._type(name)
        elif self.asking is not None:
            change, self.asking = self.asking, None
            if name in ("y", "Y"):
                return change
            self.note = "nothing is changed"
        elif self.help:
            self.help = False
        elif name in ("q", "Q", "interrupt"):
            self.over = True
        elif name in ("h", "?"):
            self.help = True
        elif name in WORDS:
            self._ask(WORDS[name])
        elif name in SORT_KEYS:
            self.sort = SORT_KEYS[name]
        elif name == "s":
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif name == "/":
            self.typing = True
        elif name == "escape":
            self.needle = ""
        elif name == "p":
            self.paused = not self.paused
        else:
            steps = {"down": 1, "j": 1, "up": -1, "k": -1, "page down": page, "page up": -page}
            steps |= {"home": -(1 << 30), "end": 1 << 30}
            self._move(steps.get(name, 0))
        return None

    def _type(self, name: str) -> None:
        if name in ("enter", "escape"):
            self.typing = False
            if name == "escape":
                self.needle = ""
        elif name == "backspace":
            self.needle = self.needle[:-1]
        elif len(name) == 1 and name.isprintable():
            self.needle += name

    def _ask(self, state: str) -> None:
        row = self._row()
        if row is None:
            self.note = "no server is chosen"
        else:
            told = row.told
            self.asking = Change(told["backend"], told["address"], told["name"], state)

    def _move(self, steps: int) -> None:
        if self._rows:
            at = self._place()
            self.chosen = _identity(self._rows[min(max(at + steps, 0), len(self._rows) - 1)])

    def _place(self) -> int:
        return next((n for n, row in enumerate(self._rows) if _identity(row) == self.chosen), 0)

    def _row(self) -> Row | None:
        return self._rows[self._place()] if self._rows else None


def _identity(row: Row) -> tuple[str, str]:
    return row.told["backend"], row.told["address"]


def draw(news: News, ui: Ui, width: int, height: int, *, blocks: bool = True) -> list[Line]:
    """At most `height` lines of at most `width` characters. `blocks`: bars of block characters, else of '#'."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return _cut([[("too small", "bad")]], width, height)
    if ui.help:
        return _cut([[("fastlb top", "head")], *([(text, "")] for text in HELP)], width, height)
    snapshot = news.snapshot
    last = _last_line(news, ui)
    if snapshot is None:
        return _cut(
            [[("fastlb top", "head")], [(news.problem or "asking …", "bad" if news.problem else "dim")], last],
            width,
            height,
        )
    lines = [_headline(snapshot, ui), *_frontends(snapshot, height)]
    room = height - len(lines) - 2
    rows = ui.rows(snapshot)
    table, cursor = _servers(snapshot, rows, ui, width, blocks=blocks)
    ui.top = min(
        max(ui.top, cursor - room + 1), max(0, cursor if cursor < room else cursor - 1), max(0, len(table) - room)
    )
    if cursor < ui.top:
        ui.top = cursor
    lines.append(_heading(ui, width))
    body = table[ui.top : ui.top + room]
    lines += body
    lines += [[] for _ in range(room - len(body))]
    return _cut([*lines, last], width, height)


def _headline(snapshot: Snapshot, ui: Ui) -> Line:
    info = snapshot.info
    totals = info["totals"]
    phase = info["phase"]
    ready = sum(worker["state"] == "ready" for worker in info["workers"])
    text = (
        f"{ready}/{len(info['workers'])} workers"
        if len(info["workers"]) != ready
        else plural(ready, "worker", "workers")
    )
    rate = sum(row.rate for row in snapshot.frontends)
    return [
        ("fastlb ", "bold"),
        (phase, "good" if phase == "ready" else "warn"),
        (f"  {amount(rate)} req/s  {totals['connections']} conns  {text}  up {age(info['uptime'])}", ""),
        (f"  config {info['generation']}  {info['version']}", "dim"),
        ("  paused" if ui.paused else "", "warn"),
    ]


def _frontends(snapshot: Snapshot, height: int) -> list[Line]:
    most = max(1, min(FRONTENDS, height // 6))
    lines: list[Line] = []
    for row in snapshot.frontends[:most]:
        told = row.told
        text = f"  {amount(row.rate)}/s  {told['connections']} conns  p50 {moments(row.p50)}  p99 {moments(row.p99)}"
        lines.append(
            [
                (f"{safe(row.name)} ", "bold"),
                (safe(", ".join(told["listen"])), "dim"),
                (text, ""),
                (f"  {amount(row.errors)} 5xx/s" if row.errors else "", "bad"),
            ]
        )
    if len(snapshot.frontends) > most:
        lines[-1].append((f"  and {len(snapshot.frontends) - most} more", "dim"))
    return lines


def _layout(width: int) -> tuple[list[Column], int, int]:
    """The columns that fit, the width of names and that of bars (0 = none)."""
    columns = list(COLUMNS)
    while columns and NAME + 2 + sum(c.width + 1 for c in columns) > width:
        columns.remove(max(columns, key=lambda c: c.need))
    left = width - 2 - sum(c.width + 1 for c in columns)
    name = min(max(NAME, left // 2), 32)
    bar = left - name - 1
    return (columns, name, min(bar, 30)) if bar >= BAR else (columns, left, 0)


def _heading(ui: Ui, width: int) -> Line:
    columns, name, bar = _layout(width)
    titles = " ".join(f"{c.title:>{c.width}}" if c.title != "state" else f"{c.title:<{c.width}}" for c in columns)
    text = f"  {'server':<{name}} {titles}"
    if bar:
        text += f" {'load'}"
    notes = [*([f"by {ui.sort}"] if ui.sort != "configured" else []), *([f"/{ui.needle}"] if ui.needle else [])]
    tail = "  ".join(notes)
    if tail and len(text) + len(tail) + 2 <= width:
        text = text.ljust(width - len(tail)) + tail
    return [(text.ljust(width), "head")]


def _servers(snapshot: Snapshot, rows: list[Row], ui: Ui, width: int, *, blocks: bool) -> tuple[list[Line], int]:
    """The table, and the number of the line with the cursor."""
    columns, name, bar = _layout(width)
    most = max((row.rate for row in rows), default=0.0)
    backends = {row.name: row for row in snapshot.backends}
    lines: list[Line] = []
    cursor, group = 0, None
    for row in rows:
        backend = row.told["backend"]
        if ui.sort == "configured" and backend != group:
            group = backend
            lines.append(_backend(backends.get(backend), backend))
        chosen = _identity(row) == ui.chosen
        if chosen:
            cursor = len(lines)
        label = row.name if ui.sort == "configured" else f"{backend}/{row.name}"
        line: Line = [(f"{'>' if chosen else ' '} {_fit(safe(label), name)}", "chosen" if chosen else "")]
        for column in columns:
            if column.title == "state":
                line.append((f" {column.text(row):<{column.width}}", STATES.get(row.told["state"], "")))
            else:
                bad = column.title == "5xx/s" and row.errors > 0
                line.append((f" {column.text(row)[: column.width]:>{column.width}}", "bad" if bad else ""))
        if bar:
            line.append((" " + _bar(row.rate / most if most else 0.0, bar, blocks=blocks), "bar"))
            if row.told["state"] not in ("UP",) and row.told["reason"]:
                # where nothing is carried there is room to say why
                line[-1] = (" " + safe(row.told["reason"]), "dim")
        lines.append(line)
    if not rows:
        lines.append([("  no server" + (f" whose name holds {ui.needle!r}" if ui.needle else ""), "dim")])
    return lines, cursor


def _backend(row: Row | None, name: str) -> Line:
    if row is None:
        return [(safe(name), "bold")]
    told = row.told
    up = told["servers"]["UP"]
    line: Line = [
        (safe(name), "bold"),
        (f"  {up} of {sum(told['servers'].values())} up", "good" if told["state"] == "UP" else "bad"),
        (f"  {amount(row.rate)}/s  p99 {moments(row.p99)}", ""),
    ]
    if told["queued"]:
        line.append((f"  {told['queued']} queued", "warn"))
    if told["panic"]:
        line.append(("  panic", "bad"))
    return [*line, (f"  {told['algorithm']}", "dim")]


def _bar(share: float, width: int, *, blocks: bool) -> str:
    if not blocks:
        return "#" * round(share * width)
    eighths = round(share * width * 8)
    return ("█" * (eighths // 8) + BLOCKS[eighths % 8]).rstrip()


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def _last_line(news: News, ui: Ui) -> Line:
    if ui.asking is not None:
        return [
            (f"{ui.asking.state} {safe(ui.asking.backend)}/{safe(ui.asking.name)}? y = yes, any other key = no", "warn")
        ]
    if ui.typing:
        return [(f"/{ui.needle}_", "bold")]
    if news.problem and news.snapshot is not None:
        return [(f"{age(time.monotonic() - news.snapshot.at)} old: {safe(news.problem)}", "bad")]
    if ui.note:
        return [(ui.note, "dim")]
    if news.number > ui.read:
        ui.seen = news.number
        return [(safe(news.message), "bad" if news.failed else "good")]
    return [("d drain  r ready  m maint  s sort  / find  h help  q quit", "dim")]


def _cut(lines: list[Line], width: int, height: int) -> list[Line]:
    """What fits."""
    found: list[Line] = []
    for line in lines[:height]:
        left, parts = width, []
        for text, style in line:
            if left > 0 and text:
                parts.append((text[:left], style))
                left -= len(text)
        found.append(parts)
    return found
