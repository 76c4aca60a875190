"""The table that `fastlb serve` prints at the start: what listens, where it goes, and which protections are on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from fastlb import __version__
from fastlb.config.units import format_duration, format_size
from fastlb.runtime.info import RuntimeInfo, shown
from fastlb.spec import Backend, Frontend, HealthCheck, Mode, Spec

from .output import counted, listing, table

T = TypeVar("T", Frontend, Backend)

ROWS = 24  # of a table; the rest is counted


def banner(spec: Spec, info: RuntimeInfo) -> str:
    """Several lines without colours; long lists are cut."""
    return "\n".join(
        [
            _headline(info),
            "",
            *table(
                ("frontend", "mode", "listens on", "goes to"), [_frontend(f, info) for f in spec.frontends], most=ROWS
            ),
            "",
            *table(("backend", "balance", "servers", "health check"), [_backend(b) for b in spec.backends], most=ROWS),
            "",
            *table(None, _protections(spec, info), most=ROWS),
            "",
        ]
    )


def _headline(info: RuntimeInfo) -> str:
    processes = f"{counted(info.workers, 'worker')} on {info.loop}" if info.workers else f"one process on {info.loop}"
    return f"fastlb {__version__}: {processes}, pid {info.pid}"


def _frontend(frontend: Frontend, info: RuntimeInfo) -> tuple[str, ...]:
    addresses = [shown(address) for address in info.addresses.get(frontend.name, [])]
    parts = [counted(len(frontend.routes), "route")] if frontend.routes else []
    if frontend.redirect_https:
        parts.append("https by redirect")
    parts.append(frontend.backend or "else 404")
    return frontend.name, str(frontend.mode), listing(addresses, 4), ", ".join(parts)


def _backend(backend: Backend) -> tuple[str, ...]:
    balance = backend.balance
    algorithm = balance.algorithm
    if balance.method:
        algorithm += f" ({balance.method}, {balance.key}{f', bound {balance.bound:g}' if balance.bound else ''})"
    backups = sum(server.backup for server in backend.servers)
    drained = sum(server.weight == 0 for server in backend.servers)
    notes = [f"{n} {what}" for n, what in ((backups, "backup"), (drained, "drained")) if n]
    servers = str(len(backend.servers)) + (f" ({', '.join(notes)})" if notes else "")
    return backend.name, algorithm, servers, _check(backend.health_check)


def _check(check: HealthCheck | None) -> str:
    if check is None:
        return "none"
    kinds = {"http": f"{check.method} {check.path}", "tcp": "connect", "exec": " ".join(check.command[:1])}
    what = kinds.get(check.type, check.type)
    if check.tls is not None:
        what += " over TLS"
    return f"{what} every {format_duration(check.interval)}, rise {check.rise}, fall {check.fall}"


def _protections(spec: Spec, info: RuntimeInfo) -> list[tuple[str, ...]]:
    frontends, backends = spec.frontends, spec.backends
    asked = [frontend for frontend in frontends if frontend.mode is Mode.HTTP]
    connected = [backend for backend in backends if backend.mode is not Mode.UDP]
    rows = [
        ("client timeouts", _by_owner(frontends, _client_timeouts)),
        *([("server timeouts", _by_owner(connected, _server_timeouts))] if connected else []),
        *([("request limits", _by_owner(asked, _limits))] if asked else []),
        ("connections", [_connections(frontends, info)]),
        ("server limits", _by_owner(backends, _server_limits)),
        ("health checks", _by_owner(backends, lambda b: "on" if b.health_check else "")),
        ("passive checks", _by_owner(backends, _outlier)),
        ("circuit breakers", _by_owner(backends, _breaker)),
        ("retries", _by_owner(backends, _retries)),
        ("panic", _by_owner(backends, _panic)),
        ("slow start", _by_owner(backends, lambda b: format_duration(b.slow_start) if b.slow_start else "")),
    ]
    on = [(name if not number else "", text) for name, texts in rows for number, text in enumerate(texts)]
    off = [name for name, texts in rows if not texts]
    return [*on, *([("off", ", ".join(off))] if off else [])]


def _client_timeouts(frontend: Frontend) -> str:
    times = frontend.timeouts
    if frontend.mode is Mode.UDP:
        return f"idle {format_duration(frontend.udp.idle)}"
    if frontend.mode is Mode.TCP:
        named = [("handshake and hello", times.header), ("tunnel", times.tunnel), ("half closed", times.half_closed)]
    else:
        named = [("header", times.header), ("client", times.client), ("idle", times.idle), ("tunnel", times.tunnel)]
    return _times((*named, ("drain", times.drain)))


def _server_timeouts(backend: Backend) -> str:
    times = backend.timeouts
    answer = [("server", times.server)] if backend.mode is Mode.HTTP else []
    return _times([("connect", times.connect), *answer, ("queue", times.queue)])


def _times(times: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {format_duration(seconds) if seconds else 'off'}" for name, seconds in times)


def _limits(frontend: Frontend) -> str:
    limits = frontend.limits
    body = f"body {format_size(limits.body)}" if limits.body else "body unlimited"
    return (
        f"head {format_size(limits.header_bytes)}, {limits.header_count} fields, URI {format_size(limits.uri)}, {body}"
    )


def _server_limits(backend: Backend) -> str:
    own = sum(server.max_connections > 0 for server in backend.servers)
    if not backend.max_connections and not own:
        return ""
    parts = [f"{backend.max_connections} at a time a server"] if backend.max_connections else []
    if own:
        parts.append(f"{counted(own, 'server')} with a limit of {'its' if own == 1 else 'their'} own")
    if backend.max_queue:
        parts.append(f"{backend.max_queue} waiting")
    return ", ".join(parts)


def _breaker(backend: Backend) -> str:
    rules = backend.circuit_breaker
    if rules is None:
        return ""
    parts = []
    if rules.errors or rules.slow:
        judged = [f"{rules.errors * 100:g}% failed"] if rules.errors else []
        if rules.slow:
            judged.append(f"{rules.slow * 100:g}% slower than {format_duration(rules.slow_after)}")
        parts.append(f"a {' and a '.join(rules.scope)}: {' or '.join(judged)}")
    if rules.concurrency:
        parts.append(f"{rules.concurrency} requests at a time")
    return ", ".join(parts)


def _retries(backend: Backend) -> str:
    retry = backend.retry
    on = [reason for reason in retry.on if backend.mode is Mode.HTTP or reason == "connect"]
    reasons = [*on, *(f"{low}" if low == high else f"{low}-{high}" for low, high in retry.statuses)]
    if not backend.retries or not reasons:
        return ""
    budget = f"at most {retry.budget * 100:g}% of all at a time, or {retry.budget_min}"
    return f"{backend.retries}, each on another server, after {', '.join(reasons)}; {budget}"


def _outlier(backend: Backend) -> str:
    rules = backend.outlier
    if rules is None:
        return ""
    reasons = [f"{rules.consecutive_failures} failures in a row"] if rules.consecutive_failures else []
    if rules.success_rate:
        reasons.append("success rate")
    if rules.latency:
        reasons.append(f"latency x{rules.latency:g}")
    if not reasons:
        return ""
    times = f"{format_duration(rules.base)} to {format_duration(rules.max)}"
    return f"{', '.join(reasons)}: out for {times}, at most {rules.max_ejected * 100:g}% of all"


def _panic(backend: Backend) -> str:
    share = backend.balance.panic_threshold
    return f"with fewer than {share * 100:g}% of its servers up a backend uses all" if share else ""


def _connections(frontends: Sequence[Frontend], info: RuntimeInfo) -> str:
    """Descriptors and what follows from them."""
    text = f"{info.max_connections} at a time{' a worker' if info.workers else ''} ({info.descriptors} open files)"
    own = [f"{f.name} {f.max_connections}" for f in frontends if f.max_connections]
    return f"{text}, of which {listing(own, 4)}" if own else text


def _by_owner(owners: Sequence[T], describe: Callable[[T], str], most: int = 6) -> list[str]:
    """What holds for each frontend or backend, a line for those with the same; [] where it is off everywhere."""
    groups: dict[str, list[str]] = {}
    for owner in owners:
        groups.setdefault(describe(owner), []).append(owner.name)
    if len(groups) < 2:
        return [text for text in groups if text]
    lines = [f"{listing(names, 4)}: {text or 'off'}" for text, names in groups.items()]
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more"]
    return lines
