"""What `fastlb top` shows: answers of the API put beside those of a second before, in a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .client import ApiFailure, Client, server_path

Told = Mapping[str, Any]
PAGE = 1000  # servers an answer holds
SHARE = 4  # the pause is so many times as long as the asking took, so that many servers do not keep the supervisor busy


@dataclass(slots=True)
class Row:
    """A frontend, backend or server with what happened a second."""

    told: Told
    rate: float  # requests a second
    errors: float  # answers 5xx a second

    @property
    def name(self) -> str:
        return str(self.told["name"])

    @property
    def p50(self) -> float:
        return self._quantile("p50")

    @property
    def p99(self) -> float:
        return self._quantile("p99")

    @property
    def in_flight(self) -> int:
        return int(self.told["in_flight"])

    def _quantile(self, name: str) -> float:
        latency = self.told["latency"]
        return float((latency["recent"] or latency["overall"])[name])


@dataclass(slots=True)
class Snapshot:
    """Everything at one moment."""

    at: float  # time.monotonic()
    info: Told
    frontends: list[Row]
    backends: list[Row]
    servers: list[Row]  # in the order of the configuration

    @property
    def changes(self) -> str:
        """Whether servers can be changed: yes, token, no."""
        return str(self.info["changes"])


class Counted:
    """Turns counters into rates, by what they were the last time."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, ...], tuple[float, int, int]] = {}

    def row(self, key: tuple[str, ...], told: Told, at: float) -> Row:
        requests, errors = told["counters"]["requests"], told["responses"]["5xx"]
        before = self._before.get(key)
        self._before[key] = (at, requests, errors)
        # A counter that went back is that of another life of the program.
        if before is None or at <= before[0] or requests < before[1]:
            rates = told["rates"]
            return Row(told, rates["requests"] if rates else 0.0, 0.0)
        seconds = at - before[0]
        return Row(told, (requests - before[1]) / seconds, max(0, errors - before[2]) / seconds)


def fetch(client: Client, counted: Counted) -> Snapshot:
    """Asks for everything. Raises ApiFailure."""
    info = client.get("/v1/info")
    frontends: Sequence[Told] = client.get("/v1/frontends")["frontends"]
    backends: Sequence[Told] = client.get("/v1/backends")["backends"]
    servers: list[Told] = []
    while True:
        page = client.get("/v1/servers", limit=PAGE, offset=len(servers))
        servers += page["servers"]
        if len(servers) >= page["total"] or not page["servers"]:
            break
    now = time.monotonic()
    return Snapshot(
        now,
        info,
        [counted.row(("frontend", one["name"]), one, now) for one in frontends],
        [counted.row(("backend", one["name"]), one, now) for one in backends],
        [counted.row(("server", one["backend"], one["address"]), one, now) for one in servers],
    )


@dataclass(slots=True)
class Change:
    """Something to be done to a server."""

    backend: str
    address: str
    name: str
    state: str  # ready, drain, maint


@dataclass(slots=True)
class News:
    """What the thread has found out; replaced as a whole."""

    snapshot: Snapshot | None = None
    problem: str = ""  # why there is nothing newer
    message: str = ""  # what became of the last change
    failed: bool = False  # it did not happen
    number: int = 0  # of changes so far


@dataclass
class Feed:
    """Asks every `interval` seconds, and at once after a change, in a thread. `news` is the last that it knows."""

    client: Client
    interval: float = 1.0
    news: News = field(default_factory=News)
    _changes: list[Change] = field(default_factory=list)
    _wake: threading.Event = field(default_factory=threading.Event)
    _over: bool = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="feed", daemon=True).start()

    def stop(self) -> None:
        self._over = True
        self._wake.set()

    def change(self, change: Change) -> None:
        """Has it done soon; `news.message` tells."""
        self._changes.append(change)
        self._wake.set()

    def look(self) -> None:
        """Asks again now."""
        self._wake.set()

    def _run(self) -> None:
        counted = Counted()
        message, failed, number = "", False, 0
        while not self._over:
            self._wake.clear()
            while self._changes:
                message, failed = self._carry_out(self._changes.pop(0))
                number += 1
            began = time.monotonic()
            try:
                self.news = News(fetch(self.client, counted), "", message, failed, number)
            except (ApiFailure, LookupError, ValueError) as failure:
                self.news = News(self.news.snapshot, str(failure), message, failed, number)
            self._wake.wait(max(self.interval, SHARE * (time.monotonic() - began)))

    def _carry_out(self, change: Change) -> tuple[str, bool]:
        name = f"{change.backend}/{change.name}"
        try:
            told = self.client.ask(
                "PATCH", server_path(change.backend, change.address), {"state": change.state, "reason": "fastlb top"}
            )
        except ApiFailure as failure:
            return f"{name}: {failure}", True
        return f"{name}: {change.state}, and {told['state']}", False
