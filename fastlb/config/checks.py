"""Checks across tables: references, duplicates, options that exclude or need each other.

Every check yields findings with paths of the model. Where a part was wrong and has been taken out, the model shows
less than the user wrote: `wrote` asks the user's own text before something is called missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from fastlb.spec import Address

from .certificates import certificates
from .checks_affinity import affinity_checks
from .checks_auth import auth_checks
from .checks_bandwidth import bandwidths
from .checks_discover import discover
from .checks_rates import rates
from .checks_resilience import circuit_breaker, overload, overload_rings, overload_steps
from .checks_tcp import sockets
from .checks_udp import udp_backend, udp_frontend
from .convert import check_type, server_names
from .layer4 import layer4
from .model import Config
from .models_backends import BACKUP_TIER, AgentCheckTable, BackendTable, HealthCheckTable
from .models_frontends import FrontendTable, RouteTable
from .models_rules import HeaderRulesTable
from .paths import Path, dotted
from .shadow import swallowed
from .structure import Finding, Structure, value_at
from .suggest import Invalid, listed, nearest
from .syntax import HASH_KEYS, METHODS, host_header

_ACTIONS = ("backend", "split", "redirect", "respond")
# Keys of a health check that are not for every type
_CHECK_KEYS = {
    **dict.fromkeys(("path", "method", "host", "expect", "headers", "body", "body_regex"), ("http",)),
    **dict.fromkeys(("send", "receive"), ("tcp", "udp")),
    "tls": ("http", "tcp"),
    "command": ("exec",),
}
# Responses that have no body (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5)
_BODILESS = (204, 205, 304)


def check(structure: Structure) -> list[Finding]:
    """All findings, in the user's own paths."""
    checker = _Checker(structure)
    found = [
        *checker.frontends(),
        *auth_checks(structure.model, checker.wrote, checker.reference, _names(structure.raw, "auth")),
        *checker.backends(),
        *checker.listeners(),
        *certificates(structure.model, checker.wrote),
        *checker.admin(),
        *checker.tracing(),
        *layer4(structure.model, checker.wrote),
        *sockets(structure.model, checker.wrote),
        *rates(structure.model, checker.wrote),
        *bandwidths(structure.model, checker.wrote),
        *overload_steps(structure.model),
    ]
    return [Finding(structure.original(f.path), f.reason, f.nearest, f.warning, f.missing) for f in found]


class _Checker:
    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._config: Config = structure.model
        self._misspelt = {(f.path[:-1], f.nearest) for f in structure.findings if f.path}
        there, backends = value_at(structure.raw, ("backends",))
        # Names count even where the table itself is wrong: one mistake, one message.
        self._backend_names = [str(name) for name in backends] if isinstance(backends, dict) else []
        self._backends_readable = isinstance(backends, dict) or not (there or ((), "backends") in self._misspelt)
        # Where a reference is misspelt, the backend that was meant is not called unused on top of it.
        self._used: set[str] = set(_references(structure.raw))
        # Tables with something wrong anywhere inside
        self._broken = {f.path[:depth] for f in structure.findings for depth in range(len(f.path) + 1)}

    def wrote(self, path: Path, key: str) -> bool:
        """Whether the user's table at this path of the model holds the key, right, wrong or misspelt."""
        original = self._structure.original(path)
        there, value = value_at(self._structure.raw, (*original, key))
        return (
            (there and value not in ("", [], {}))
            or (*original, key) in self._broken
            or (original, key) in self._misspelt
        )

    def _needed(self, path: Path, why: str) -> Finding:
        if value_at(self._structure.raw, self._structure.original(path))[0]:
            return Finding(path, f"is empty: {why}")
        return Finding(path, f"this key is needed: {why}", missing=True)

    # frontends and routes

    def frontends(self) -> Iterator[Finding]:
        if not self._config.frontends and not self.wrote((), "frontends"):
            yield Finding(("frontends",), "there is no frontend, so nothing would listen", missing=True)
        for name, frontend in self._config.frontends.items():
            path: Path = ("frontends", name)
            if not frontend.listen and not self.wrote(path, "listen"):
                yield self._needed((*path, "listen"), "a frontend has at least one address to listen on")
            yield from self.reference((*path, "backend"), frontend.backend, frontend.mode)
            yield from _rule_checks(path, frontend.request_headers, frontend.response_headers)
            yield from udp_frontend(path, frontend, self.wrote)
            for index, route in enumerate(frontend.routes):
                yield from self._route((*path, "routes", index), route, frontend)
            if frontend.mode == "http":
                yield from self._shadowed(path, frontend)
            if frontend.hsts is not None and not any(listener.tls for listener in frontend.listen):
                yield Finding((*path, "hsts"), "has no effect without a TLS listener", warning=True)
            goes = any((frontend.redirect_https, self.wrote(path, "backend"), self.wrote(path, "routes")))
            if frontend.mode == "http" and not goes:
                yield Finding(
                    path, "has neither backend nor routes: every request gets 404", warning=True, missing=True
                )

    def reference(self, path: Path, name: str, mode: str) -> Iterator[Finding]:
        if not name:
            return
        if name in self._config.backends:
            other = self._config.backends[name].mode
            if other != mode:
                yield Finding(path, f"the frontend's mode is {mode}, this backend's is {other}")
        elif self._backends_readable and name not in self._backend_names:
            if self._backend_names:
                guess = nearest(name, self._backend_names)
                self._used.add(guess)
                known = "" if guess else f"; there are {_some(self._backend_names)}"
                yield Finding(path, f"there is no backend of this name{known}", guess)
            else:
                yield Finding(path, f"there is no backend of this name; add [backends.{dotted((name,))}]")

    def _route(self, path: Path, route: RouteTable, frontend: FrontendTable) -> Iterator[Finding]:
        yield from self.reference((*path, "backend"), route.backend, frontend.mode)
        for name in route.split.weights if route.split else ():
            yield from self.reference((*path, "split", "weights", name), name, frontend.mode)
        actions = [action for action in _ACTIONS if self.wrote(path, action)]
        if not actions:
            yield Finding(path, f"a route needs an action: {listed(_ACTIONS)}", missing=True)
        elif len(actions) > 1:
            yield Finding((*path, actions[1]), f"a route has exactly one action, and this one has {_and(actions)}")
        yield from _rule_checks(path, route.request_headers, route.response_headers)
        for index, method in enumerate(route.methods):
            if method not in METHODS and (guess := nearest(method, METHODS)):
                yield Finding((*path, "methods", index), "not one of the standard methods", guess, warning=True)
        if route.rewrite and not (route.rewrite.strip_prefix or route.rewrite.replace_prefix or route.rewrite.set):
            if not any(self.wrote((*path, "rewrite"), key) for key in ("strip_prefix", "replace_prefix", "set")):
                yield Finding((*path, "rewrite"), "names no change of the path", warning=True)
        elif route.rewrite and route.rewrite.set and (route.rewrite.strip_prefix or route.rewrite.replace_prefix):
            yield Finding((*path, "rewrite", "set"), "wins over the prefixes, which have no effect", warning=True)
        if actions and actions[0] not in ("backend", "split"):
            for key, used in (("rewrite", route.rewrite is not None), ("request_headers", _any(route.request_headers))):
                if used:
                    yield Finding((*path, key), f"has no effect where the action is {actions[0]}", warning=True)
        if route.respond:
            yield from _response_checks((*path, "respond"), route)

    def _shadowed(self, path: Path, frontend: FrontendTable) -> Iterator[Finding]:
        """A route that lost a wrong condition would seem to match more than was meant: it is left out."""
        places = [self._structure.original((*path, "routes", index)) for index in range(len(frontend.routes))]
        sound = [i for i, place in enumerate(places) if place not in self._broken]
        for late, early in swallowed([frontend.routes[i] for i in sound]):
            index, first = sound[late], places[sound[early]]
            yield Finding(
                (*path, "routes", index),
                f"can never match: {dotted(first)} takes every such request before",
                warning=True,
                missing=True,
            )

    # backends

    def backends(self) -> Iterator[Finding]:
        for name, backend in self._config.backends.items():
            path: Path = ("backends", name)
            written = self.wrote(path, "servers") or self.wrote(path, "discover")
            if not (backend.servers or backend.discover or written):
                yield self._needed((*path, "servers"), "a backend has at least one server")
            yield from discover(path, backend, self.wrote)
            yield from _rule_checks(path, backend.request_headers, backend.response_headers)
            yield from self._balance((*path, "balance"), backend)
            yield from _ignored((*path, "balance"), backend)
            yield from _server_checks((*path, "servers"), backend)
            yield from udp_backend(path, backend, self.wrote)
            yield from self._health_check((*path, "health_check"), backend)
            if backend.agent_check is not None:
                yield from _more_than_none((*path, "agent_check"), backend.agent_check)
            yield from _outlier((*path, "outlier"), backend)
            yield from affinity_checks((*path, "affinity"), backend, self.wrote)
            yield from circuit_breaker((*path, "circuit_breaker"), backend)
            yield from overload(path, name, backend, self._backend_names)
            if backend.overload is not None:
                self._used.add(backend.overload.backend)
            if not backend.retries and self.wrote(path, "retry"):
                yield Finding((*path, "retry"), "has no effect with retries = 0", warning=True)
            limited = backend.max_connections or any(server.max_connections for server in backend.servers)
            limited = limited or any(found.max_connections for found in backend.discover)
            if backend.max_queue and not limited:
                yield Finding(
                    (*path, "max_queue"), "has no effect without max_connections: nothing waits", warning=True
                )
        yield from overload_rings(self._config.backends)
        # After the frontends, which mark what they use
        for name in self._backend_names:
            if name not in self._used and self._config.frontends:
                yield Finding(
                    ("backends", name), "no frontend and no route uses this backend", warning=True, missing=True
                )

    def _balance(self, path: Path, backend: BackendTable) -> Iterator[Finding]:
        balance = backend.balance
        if balance.algorithm != "consistent_hash":
            if not self.wrote(path, "algorithm") and self.wrote(path, "key") and balance.key:
                yield Finding(path, 'a key needs algorithm = "consistent_hash"')
                return
            for key in ("key", "method", "bound"):
                if self.wrote(path, key) and getattr(balance, key):
                    yield Finding((*path, key), f"is only for consistent_hash, not for {balance.algorithm}")
            return
        if not self.wrote(path, "key"):
            yield Finding(
                path,
                f"consistent_hash needs a key: {listed(HASH_KEYS)}; "
                'for example { algorithm = "consistent_hash", key = "ip" }',
            )

    def _health_check(self, path: Path, backend: BackendTable) -> Iterator[Finding]:
        check = backend.health_check
        if check is None:
            return
        type_ = check_type(check, backend.mode)
        for key, kinds in _CHECK_KEYS.items():
            if type_ not in kinds and self.wrote(path, key):
                yield Finding(
                    (*path, key), f"is only for type = {listed(f'{chr(34)}{kind}{chr(34)}' for kind in kinds)}"
                )
        if check.type == "exec" and not check.command and not self.wrote(path, "command"):
            yield Finding(path, 'type = "exec" needs a command', missing=True)
        if check.body and check.body_regex:
            yield Finding((*path, "body_regex"), "only one of body and body_regex")
        if check.method == "HEAD" and (check.body or check.body_regex):
            yield Finding((*path, "method"), "the answer to HEAD has no body to look at")
        if check.tls is not None and check.tls.ca and not os.access(check.tls.ca, os.R_OK):
            yield Finding((*path, "tls", "ca"), "cannot be read")
        yield from _more_than_none(path, check)
        if check.port and any(server.address.path for server in backend.servers):
            yield Finding((*path, "port"), "has no effect on servers on Unix sockets", warning=True)

    # listeners of all frontends and of the admin interface

    def listeners(self) -> Iterator[Finding]:
        seen: list[tuple[Address, bool, Path]] = []
        for address, datagrams, path in self._addresses():
            for other, others, first in seen:
                if datagrams is others and _same_listener(address, other):
                    place = dotted(self._structure.original(first))
                    what = "is already listened on" if address == other else f"overlaps {other}"
                    yield Finding(path, f"{what} by {place}" if address == other else f"{what} of {place}")
                    break
            else:
                seen.append((address, datagrams, path))

    def admin(self) -> Iterator[Finding]:
        admin = self._config.admin
        path: Path = ("admin",)
        if admin.listen is not None and not admin.listen.loopback and not self.wrote(path, "token"):
            yield Finding(
                ("admin", "listen"),
                "reachable from other machines, so it needs admin.token; or listen on this machine alone",
                f"127.0.0.1:{admin.listen.port}",
            )
        if admin.listen is None and not self.wrote(path, "listen"):
            for key in ("token", "read_only"):
                if getattr(admin, key):
                    yield Finding(("admin", key), "has no effect without admin.listen", warning=True)

    def tracing(self) -> Iterator[Finding]:
        if self._config.tracing.endpoint and not any(f.forwarded.traceparent for f in self._config.frontends.values()):
            why = "has no effect without a frontend with forwarded.traceparent = true"
            yield Finding(("tracing", "endpoint"), why, warning=True)

    def _addresses(self) -> Iterator[tuple[Address, bool, Path]]:
        """What is listened on, and whether for datagrams: TCP and UDP have their ports each."""
        for name, frontend in self._config.frontends.items():
            for index, listener in enumerate(frontend.listen):
                yield listener.address, frontend.mode == "udp", ("frontends", name, "listen", index, "address")
        if self._config.admin.listen is not None:
            yield self._config.admin.listen, False, ("admin", "listen")


def _same_listener(one: Address, other: Address) -> bool:
    """Whether two sockets would share connections. One address beside every address does not: the kernel prefers it."""
    if one.path or other.path:
        return one.path == other.path
    if one.port == 0 or one.port != other.port:  # port 0 takes a free one each time
        return False
    everywhere = ("", "0.0.0.0", "::")
    if one.host in everywhere and other.host in everywhere:
        return one.host == other.host or "" in (one.host, other.host)
    return one.host == other.host


def _ignored(path: Path, backend: BackendTable) -> Iterator[Finding]:
    """Algorithms that make nothing of what the servers say."""
    balance = backend.balance
    unweighted = {"round_robin": "weighted_round_robin", "first": "", "jump": "maglev"}
    name = balance.method if balance.algorithm == "consistent_hash" else balance.algorithm
    if name in unweighted and len({server.weight for server in backend.servers if server.weight}) > 1:
        last = "algorithm" if name == balance.algorithm else "method"
        yield Finding((*path, last), f"{name} makes no difference between weights", unweighted[name], warning=True)
    limited = backend.max_connections or any(server.max_connections for server in backend.servers)
    if name == "first" and not limited and len(backend.servers) > 1:
        yield Finding((*path, "algorithm"), "without max_connections the first server gets every request", warning=True)


def _more_than_none(path: Path, check: HealthCheckTable | AgentCheckTable) -> Iterator[Finding]:
    for key, value in (("interval", check.interval), ("timeout", check.timeout)):
        if not value:
            yield Finding((*path, key), "must be more than 0")


def _outlier(path: Path, backend: BackendTable) -> Iterator[Finding]:
    rules = backend.outlier
    if rules is None:
        return
    for key, value in (("interval", rules.interval), ("base", rules.base)):
        if not value:
            yield Finding((*path, key), "must be more than 0")
    if rules.max < rules.base:
        yield Finding((*path, "max"), "must not be less than base")
    if 0 < rules.latency <= 1:
        yield Finding((*path, "latency"), "must be more than 1 (times as long as the others), or 0")


def _server_checks(path: Path, backend: BackendTable) -> Iterator[Finding]:
    names: dict[str, int] = {}
    addresses: dict[Address, int] = {}
    for index, (name, server) in enumerate(zip(server_names(backend.servers), backend.servers, strict=True)):
        if server.address in addresses:
            yield Finding(
                (*path, index, "address"), f"the same address as that of server [{addresses[server.address]}]"
            )
        elif name in names:
            yield Finding((*path, index, "name"), f"the same name as that of server [{names[name]}]")
        if server.backup and server.tier:
            yield Finding((*path, index, "tier"), BACKUP_TIER, "0")
        addresses.setdefault(server.address, index)
        names.setdefault(name, index)
    if backend.servers and all(server.weight == 0 for server in backend.servers):
        yield Finding(path, "every server has weight 0: no request can be served", warning=True, missing=True)


def _rule_checks(path: Path, request: HeaderRulesTable, response: HeaderRulesTable) -> Iterator[Finding]:
    for key, rules in (("request_headers", request), ("response_headers", response)):
        yield from _repeated((*path, key, "set"), rules.set)
        yield from _repeated((*path, key, "remove"), rules.remove)
        names = {name.lower() for name in rules.set}
        for name, value in rules.set.items():
            if key == "request_headers" and name.lower() == "host":
                try:
                    host_header(value)
                except Invalid as error:
                    yield Finding((*path, key, "set", name), error.reason, error.nearest)
        for name in rules.add:
            if key == "request_headers" and name.lower() == "host":
                yield Finding((*path, key, "add", name), "a request has exactly one Host; use set")
        for index, name in enumerate(rules.remove):
            if key == "request_headers" and name.lower() == "host":
                yield Finding((*path, key, "remove", index), "a request has exactly one Host; use set to change it")
            elif name.lower() in names:
                yield Finding((*path, key, "remove", index), "set removes the old fields anyway", warning=True)


def _repeated(path: Path, names: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for index, name in enumerate(names):
        if name.lower() in seen:
            last: str | int = index if path[-1] == "remove" else name
            yield Finding((*path, last), f"the same header as {seen[name.lower()]}; names are compared without case")
        seen.setdefault(name.lower(), name)


def _response_checks(path: Path, route: RouteTable) -> Iterator[Finding]:
    respond = route.respond
    assert respond is not None
    if respond.status in _BODILESS and respond.body:
        yield Finding((*path, "body"), f"a response with status {respond.status} has no body")
    for name in respond.headers:
        if name.lower() == "content-type":
            yield Finding((*path, "headers", name), "use content_type")
    yield from _repeated((*path, "headers"), respond.headers)


def _names(raw: object, table: str) -> list[str]:
    """Names of the tables in a table, right or wrong."""
    _, found = value_at(raw, (table,))
    return [str(name) for name in found] if isinstance(found, dict) else []


def _references(raw: object) -> Iterator[str]:
    """Names of backends in frontends, routes and services as they were written, right or wrong."""
    _, services = value_at(raw, ("auth",))
    for name in services if isinstance(services, dict) else ():
        there, named = value_at(raw, ("auth", name, "forward", "backend"))
        if there and isinstance(named, str):
            yield named
    _, frontends = value_at(raw, ("frontends",))
    for frontend in frontends.values() if isinstance(frontends, dict) else ():
        if isinstance(frontend, dict):
            routes = frontend.get("routes")
            for table in (frontend, *(routes if isinstance(routes, list) else ())):
                if isinstance(table, dict) and isinstance(table.get("backend"), str):
                    yield table["backend"]
                mirror = table.get("mirror") if isinstance(table, dict) else None
                if isinstance(mirror, dict):
                    mirror = mirror.get("backend")
                if isinstance(mirror, str):
                    yield mirror
                split = table.get("split") if isinstance(table, dict) else None
                if isinstance(split, dict):
                    weights = split.get("weights")
                    yield from weights if isinstance(weights, dict) else split


def _any(rules: HeaderRulesTable) -> bool:
    return bool(rules.remove or rules.set or rules.add)


def _some(names: list[str], count: int = 8) -> str:
    text = ", ".join(dotted((name,)) for name in names[:count])
    return text + (f" and {len(names) - count} more" if len(names) > count else "")


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
