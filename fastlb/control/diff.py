"""What becomes different when one configuration takes the place of another, and whom it touches.

Compared are two Specs, in the words of the configuration; names found by the resolver do not count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from fastlb.errors import shown
from fastlb.spec import Address, Backend, Frontend, Listen, Route, Spec

Item = TypeVar("Item")

HIDDEN = "..."  # in place of a secret: what its class keeps out of repr()


class What(StrEnum):
    """How something differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Field:
    """One value before and after, as TOML would write it; '' = not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs."""

    kind: str  # global | log | overload | admin | frontend | listener | route | backend | server
    name: str  # 'web', 'web on :80', 'web route static', 'app/app1'; '' for the tables that are there once
    what: What
    fields: tuple[Field, ...] = ()  # of what changed
    connections: int = 0  # open now that it touches: closed once what is in flight on them has ended
    requests: int = 0  # in flight now that it touches; they end as they began
    note: str = ""  # what else there is to know

    def __str__(self) -> str:
        sign = {What.ADDED: "+", What.REMOVED: "-", What.CHANGED: "~"}[self.what]
        text = f"{sign} {self.kind}{f' {self.name}' if self.name else ''}"
        if self.fields:
            text += ": " + "; ".join(_field_text(field) for field in self.fields)
        touched = [
            f"{n} {word}{'' if n == 1 else 's'}"
            for n, word in ((self.connections, "open connection"), (self.requests, "request"))
            if n
        ]
        extra = [*([f"touches {' and '.join(touched)}"] if touched else []), *([self.note] if self.note else [])]
        return f"{text} ({'; '.join(extra)})" if extra else text


@dataclass(frozen=True, slots=True)
class Load:
    """What is going on now: (connections, requests) by what a difference may touch. Missing = none."""

    frontends: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    servers: Mapping[tuple[str, Address], tuple[int, int]] = dataclasses.field(default_factory=dict)


def diff(old: Spec, new: Spec, load: Load | None = None) -> tuple[Difference, ...]:
    """All differences, in the order of the file. O(size of both)."""
    load = load or Load()
    found: list[Difference] = []
    for kind, before, after in (
        ("global", old.global_, new.global_),
        ("log", old.log, new.log),
        ("tls", old.tls, new.tls),
        ("tracing", old.tracing, new.tracing),
        ("resolver", old.resolver, new.resolver),
        ("overload", old.overload, new.overload),
        ("redis", old.redis, new.redis),
        ("admin", old.admin, new.admin),
    ):
        fields = _fields(before, after)
        if fields:
            note = _at_start(fields) if kind == "global" else ""
            found.append(Difference(kind, "", What.CHANGED, fields, note=note))
    found += _frontends(old, new, load)
    found += _backends(old, new, load)
    return tuple(found)


def _at_start(fields: Sequence[Field]) -> str:
    """What of [global] a reload leaves alone; the supervisor says so as well."""
    later = [f.name for f in fields if f.name not in ("workers", "overlay", "watch") or _processes_or_none(f)]
    if not later:
        return ""
    return f"{' and '.join(later)} take{'s' if len(later) == 1 else ''} effect at the next start"


def _processes_or_none(field: Field) -> bool:
    """Whether the engines would move between processes of their own and the supervisor's."""
    return field.name == "workers" and "0" in (field.before, field.after)


def _frontends(old: Spec, new: Spec, load: Load) -> Iterator[Difference]:
    for what, before, after in _matched(old.frontends, new.frontends, lambda f: f.name):
        connections, requests = load.frontends.get(_one(before, after).name, (0, 0))
        if what is What.REMOVED:
            assert before is not None
            yield Difference("frontend", before.name, what, (), connections, requests)
        elif what is What.ADDED:
            assert after is not None
            where = ", ".join(str(listen.address) for listen in after.listen)
            yield Difference("frontend", after.name, what, note=f"on {where}")
        else:
            assert before is not None and after is not None
            yield from _frontend(before, after, connections, requests)


def _frontend(before: Frontend, after: Frontend, connections: int, requests: int) -> Iterator[Difference]:
    fields = _fields(before, after, leave_out=("listen", "routes"))
    if fields:
        yield Difference("frontend", after.name, What.CHANGED, fields)
    for what, was, now in _matched(before.listen, after.listen, lambda listen: listen.address):
        name = f"{after.name} on {_one(was, now).address}"
        if what is What.REMOVED:
            # which of the frontend's connections came by this address is not counted
            most = len(before.listen) > 1 and connections
            note = "at most: those of the frontend's other addresses are not told apart" if most else ""
            yield Difference("listener", name, what, (), connections, requests, note)
        elif what is What.ADDED:
            yield Difference("listener", name, what)
        elif was != now:
            yield Difference("listener", name, what, _fields(was, now))
    yield from _routes(before, after)


def _routes(before: Frontend, after: Frontend) -> Iterator[Difference]:
    if before.routes == after.routes:
        return
    old, new = _route_names(before.routes), _route_names(after.routes)
    for what, was, now in _matched(list(old), list(new), lambda name: name):
        name = f"{after.name} route {_one(was, now)}"
        if was is None or now is None:
            yield Difference("route", name, what)
        elif fields := _fields(old[was], new[now]):
            yield Difference("route", name, What.CHANGED, fields)
    if [name for name in old if name in new] != [name for name in new if name in old]:
        fields = (Field("order", shown(list(old)), shown(list(new))),)
        yield Difference("route", f"{after.name} routes", What.CHANGED, fields, note="the first that matches wins")


def _backends(old: Spec, new: Spec, load: Load) -> Iterator[Difference]:
    for what, before, after in _matched(old.backends, new.backends, lambda b: b.name):
        if what is What.REMOVED:
            assert before is not None
            touched = [load.servers.get((before.name, s.address), (0, 0)) for s in before.servers]
            yield Difference("backend", before.name, what, (), sum(t[0] for t in touched), sum(t[1] for t in touched))
        elif what is What.ADDED:
            assert after is not None
            yield Difference("backend", after.name, what, note=_counted(len(after.servers), "server"))
        else:
            assert before is not None and after is not None
            fields = _fields(before, after, leave_out=("servers",))
            if fields:
                yield Difference("backend", after.name, What.CHANGED, fields)
            yield from _servers(before, after, load)


def _servers(before: Backend, after: Backend, load: Load) -> Iterator[Difference]:
    for what, was, now in _matched(before.servers, after.servers, lambda s: s.address):
        server = _one(was, now)
        name = f"{after.name}/{server.name}"
        if server.name != str(server.address):
            name += f" at {server.address}"
        connections, requests = load.servers.get((after.name, server.address), (0, 0))
        if what is What.ADDED:
            yield Difference("server", name, what)
        elif what is What.REMOVED:
            yield Difference("server", name, what, (), connections, requests)
        elif fields := _fields(was, now, leave_out=("resolved",)):
            yield Difference("server", name, What.CHANGED, fields)


def _matched(
    old: Sequence[Item], new: Sequence[Item], key: Callable[[Item], object]
) -> Iterator[tuple[What, Item | None, Item | None]]:
    """Pairs with the same key, then what only one side has."""
    olds, news = {key(item): item for item in old}, {key(item): item for item in new}
    for identity, item in olds.items():
        if identity in news:
            yield What.CHANGED, item, news[identity]
    for identity, item in olds.items():
        if identity not in news:
            yield What.REMOVED, item, None
    for identity, item in news.items():
        if identity not in olds:
            yield What.ADDED, None, item


def _one(was: Item | None, now: Item | None) -> Item:
    item = was if now is None else now
    assert item is not None
    return item


def _route_names(routes: Sequence[Route]) -> dict[str, Route]:
    """Routes by name, or by what they match; the second of a kind gets a number."""
    named: dict[str, Route] = {}
    for route in routes:
        name = base = route.name or _conditions(route)
        number = 2
        while name in named:
            name = f"{base} #{number}"
            number += 1
        named[name] = route
    return named


def _conditions(route: Route) -> str:
    parts = [*route.methods, *route.host, *route.path, *(f"{n}: {v}" for n, v in route.headers)]
    parts += [f"?{n}={v}" for n, v in route.query]
    parts += [f"from {network}" for network in route.source]
    return " ".join(parts) or "(everything)"


def _fields(before: Any, after: Any, *, leave_out: Sequence[str] = ()) -> tuple[Field, ...]:
    """Fields of two data classes that differ, nested ones by dotted name."""
    found: list[Field] = []
    for field in dataclasses.fields(before):
        if field.name in leave_out or not field.compare:  # which is what others filled in, not of the configuration
            continue
        was, now = getattr(before, field.name), getattr(after, field.name)
        if was == now:
            continue
        if dataclasses.is_dataclass(was) and type(was) is type(now) and not isinstance(was, Address | Listen):
            found += [dataclasses.replace(f, name=f"{field.name}.{f.name}") for f in _fields(was, now)]
        else:
            texts = (_value(value) if field.repr or not value else HIDDEN for value in (was, now))
            found.append(Field(field.name, *texts))
    return tuple(found)


def _value(value: Any) -> str:
    return "" if value is None else shown(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Address | StrEnum):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _plain(kept) if f.repr or not kept else HIDDEN
            for f in dataclasses.fields(value)
            if f.compare
            for kept in [getattr(value, f.name)]
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _field_text(field: Field) -> str:
    if not field.before:
        return f"{field.name} {field.after}"
    return f"{field.name} {field.before} -> {field.after or 'none'}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
