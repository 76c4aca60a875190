"""What `fastlb ctl show` prints for people: answers of the API as aligned tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from .output import age, amount, counted, moments, octets, safe, state, table

Told = Mapping[str, Any]
PHASES = {"ready": "green", "starting": "yellow", "draining": "yellow", "gone": "red", "resting": "red"}
LEVELS = {"warning": "yellow", "error": "red"}


def info(told: Told) -> Iterator[str]:
    """The program."""
    totals = told["totals"]
    yield f"fastlb {told['version']}, {_phase(told['phase'])}, pid {told['pid']}, up {age(told['uptime'])}"
    source = safe(told["config"]) or "options of the command line"
    yield f"configuration {told['generation']} from {source}, {counted(told['reloads'], 'reload')}"
    yield (
        f"connections  {totals['connections']} now, {amount(totals['connections_per_second'])}/s, "
        f"{amount(totals['connections_total'])} in all; {told['max_connections']} a worker at most"
    )
    yield f"requests     {amount(totals['requests_per_second'])}/s, {amount(totals['requests_total'])} in all"
    yield f"traffic      {octets(totals['bytes_in'])} in, {octets(totals['bytes_out'])} out"
    yield f"open files   {told['open_files']} of {told['open_file_limit']} in the supervisor"
    yield ""
    yield from workers(told)


def workers(told: Told) -> list[str]:
    """A line a worker."""
    rows = [
        (
            str(one["worker"]),
            str(one["pid"] or ""),
            _phase(one["state"]),
            age(_since(one["since"])) if one["since"] else "",
            str(one["starts"]),
            str(one["connections"]),
            str(one["generation"]),
            f"{one['cpu_seconds']:.1f}s",
            octets(one["resident_bytes"]),
            moments(one["beat_age"]),
        )
        for one in told["workers"]
    ]
    head = ("worker", "pid", "state", "up", "starts", "connections", "config", "cpu", "memory", "heartbeat")
    return table(head, rows, right=head[3:])


def frontends(told: Told) -> list[str]:
    """A line a frontend."""
    rows = [
        (
            safe(one["name"]),
            one["mode"],
            safe(", ".join(one["listen"])),
            f"{one['connections']}{'/' + str(one['max_connections']) if one['max_connections'] else ''}",
            *_traffic(one),
        )
        for one in told["frontends"]
    ]
    head = ("frontend", "mode", "listens on", "connections", *_TRAFFIC)
    return table(head, rows, right=head[3:])


def backends(told: Told) -> list[str]:
    """A line a backend."""
    rows = []
    for one in told["backends"]:
        servers = ", ".join(f"{number} {state(word)}" for word, number in one["servers"].items() if number)
        rows.append(
            (
                safe(one["name"]),
                state(one["state"]) + (click.style(" panic", fg="red") if one["panic"] else ""),
                servers,
                safe(one["algorithm"]),
                str(one["queued"]),
                *_traffic(one),
            )
        )
    head = ("backend", "state", "servers", "balance", "queued", *_TRAFFIC)
    return table(head, rows, right=head[4:])


def servers(told: Told) -> Iterator[str]:
    """A line a server, with the reason where it takes no traffic."""
    rows = [
        (
            safe(f"{one['backend']}/{one['name']}"),
            safe(one["address"]) if one["address"] != one["name"] else "",
            state(one["state"]),
            age(_since(one["since"])),
            f"{one['effective_weight']}{'/' + str(one['weight']) if one['weight'] != one['effective_weight'] else ''}"
            + (" backup" if one["backup"] else f" tier {one['tier']}" if one["tier"] else ""),
            f"{one['in_flight']}{'/' + str(one['max_connections']) if one['max_connections'] else ''}",
            *_traffic(one)[1:],
            safe(one["check"]["status"]) if one["check"] else "",
            safe(one["reason"]) if one["state"] != "UP" else "",
        )
        for one in told["servers"]
    ]
    head = ("server", "address", "state", "for", "weight", "in flight", *_TRAFFIC[1:], "check", "reason")
    yield from table(head, rows, right=("for", "in flight", *_TRAFFIC))
    if told["total"] > len(rows):
        yield f"{len(rows)} of {told['total']} servers; --offset {len(rows)} shows the next"


def server(one: Told) -> Iterator[str]:
    """All of one server."""
    yield f"{click.style(safe(one['backend'] + '/' + one['name']), bold=True)} at {safe(one['address'])}"
    rows = [
        ("state", f"{state(one['state'])} ({safe(one['status'])}) for {age(_since(one['since']))}"),
        ("reason", safe(one["reason"])),
        *([("discovered by", safe(one["source"]))] if one["source"] else []),
        (
            "weight",
            f"{one['weight']}, now {one['effective_weight']}"
            + (", backup" if one["backup"] else f", tier {one['tier']}" if one["tier"] else ""),
        ),
        ("requests", f"{one['in_flight']} in flight, at most {one['max_connections'] or 'any number'}"),
        ("idle connections", str(one["idle_connections"])),
        ("went down", f"{one['downs']} times, {age(one['downtime'])} in all"),
        *((name, text) for name, text in zip(_TRAFFIC[1:], _traffic(one)[1:], strict=True)),
    ]
    check, agent = one["check"], one["agent"]
    if check:
        text = (
            f"{check['type']}: {safe(check['status'])} in {moments(check['duration'])} {safe(check['text'])}".rstrip()
        )
        rows.append(("check", f"{text}, {check['failed']} failed, rise {check['rise']}, fall {check['fall']}"))
        if check["last_failure"]:
            rows.append(("last failure", f"{safe(check['last_failure'])}, {age(_since(check['last_failure_at']))} ago"))
    if agent:
        rows.append(("agent", f"{safe(agent['status'])}: {safe(agent['line'])}"))
    rows += [(name, str(number)) for name, number in one["counters"].items() if number]
    yield from (f"  {line}" for line in table(None, rows))


def routes(told: Told) -> list[str]:
    """A line a route."""
    rows = []
    for one in told["routes"]:
        parts = [*one["methods"], *one["host"], *one["path"], *one["headers"], *(f"?{q}" for q in one["query"])]
        parts += [f"from {network}" for network in one["source"]]
        target = f"{one['action']} {one['target']}" if one["action"] not in ("backend", "none") else one["target"]
        name = one["name"] or str(one["position"])
        rows.append((safe(one["frontend"]), name, safe(" ".join(parts)) or "(the rest)", safe(target)))
    return table(("frontend", "route", "matches", "goes to"), rows)


def connections(told: Told) -> Iterator[str]:
    """A line a connection."""
    rows = []
    for one in told["connections"]:
        request = one["request"] or {}
        server_name = (
            f"{request['backend']}/{request['server']}" if request.get("server") else request.get("backend", "")
        )
        rows.append(
            (
                str(one["worker"]),
                safe(one["frontend"]),
                f"{one['client']}:{one['client_port']}" if one["client_port"] else one["client"],
                one["state"],
                moments(request["seconds"]) if request else "",
                safe(server_name),
                f"{octets(request['bytes_in'])}/{octets(request['bytes_out'])}" if request else "",
                safe(request.get("line", "")),
            )
        )
    head = ("worker", "frontend", "client", "state", "for", "server", "in/out", "request")
    yield from table(head, rows, right=("worker", "for", "in/out"))
    yield f"{len(rows)} of {counted(told['total'], 'connection')}"


def errors(told: Told) -> Iterator[str]:
    """Each captured message with the place of its fault."""
    if not told["errors"]:
        yield "no malformed message so far"
    for number, one in enumerate(told["errors"]):
        if number:
            yield ""
        yield click.style(f"{one['kind']} of {safe(one['proxy'])}: {safe(one['reason'])}", bold=True)
        came = f", from server {safe(one['server'])}" if one["server"] else ""
        client = one["client"] + (f":{one['client_port']}" if one["client_port"] else "")
        yield (
            f"  {_clock(one['at'])}, worker {one['worker']}, frontend {safe(one['frontend'])}, client {client}"
            f"{came}, answered {one['status'] or 'nothing'}; {one['count']} so far"
        )
        yield from _bytes(one)


def _bytes(one: Told) -> Iterator[str]:
    """The bytes line by line with their offsets, and a mark under the one that is wrong."""
    import base64

    raw = base64.b64decode(one["bytes"])
    start = 0
    while start < len(raw):
        end = raw.find(b"\n", start) + 1 or len(raw)
        line = raw[start:end]
        shown = [_byte(byte) for byte in line]
        offset = (one["offset"] or 0) + start
        yield f"  {offset:6d}  {''.join(shown)}"
        if start <= one["position"] < end:
            before = sum(len(text) for text in shown[: one["position"] - start])
            yield f"          {' ' * before}{click.style('^', fg='red', bold=True)}"
        start = end
    if one["position"] >= len(raw):
        yield click.style("          ^ it ends too early", fg="red")


def _byte(byte: int) -> str:
    special = {0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t", 0x5C: "\\\\"}
    return special.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")


def events(told: Told) -> Iterator[str]:
    """A line an event."""
    for one in told["events"]:
        yield event(one)


def event(one: Told) -> str:
    """One event as a line."""
    level = click.style(f"{one['level']:<7}", fg=LEVELS.get(one["level"]))
    subject = f"{safe(one['subject'])}: " if one["subject"] else ""
    change = f" ({state(one['old'])} -> {state(one['new'])})" if one["old"] and one["new"] else ""
    return f"{_clock(one['at'])} {level} {one['kind']} {subject}{safe(one['text'])}{change}"


def changes(told: Told) -> Iterable[str]:
    """A line for each server that was changed at run time."""
    rows = []
    for one in told["changes"]:
        what = ["added"] if one["added"] else ["removed"] if one["removed"] else []
        what += [f"{name} {one[name]}" for name in ("state", "weight", "max_connections") if one[name] is not None]
        rows.append(
            (safe(f"{one['backend']}/{one['name']}"), safe(one["address"]), ", ".join(what), safe(one["reason"]))
        )
    return table(("server", "address", "changed", "reason"), rows) or ["everything is as the configuration has it"]


def config(told: Told) -> Iterator[str]:
    """The configuration in the manner of TOML, with the defaults; what is empty is left out."""
    yield "# what runs: with defaults and run-time changes, times in seconds, sizes in bytes"
    yield from _toml("", told)


def _toml(path: str, told: Told) -> Iterator[str]:
    tables = []
    lines = []
    for key, value in told.items():
        if isinstance(value, Mapping) or _of_tables(value):
            tables.append((f"{path}.{key}" if path else key, value))
        elif _said(value):
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    if lines and path:
        yield ""
        yield f"[{path}]"
    yield from lines
    for name, value in tables:
        if isinstance(value, Mapping):
            yield from _toml(name, value)
            continue
        for one in value:
            if set(one) >= {"name", "servers"} or set(one) >= {"name", "listen"}:  # a backend or frontend
                yield from _toml(f"{name}.{one['name']}", {key: v for key, v in one.items() if key != "name"})
            else:
                yield ""
                yield f"[[{name}]]"
                yield from _inline(one)


def _of_tables(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(x, Mapping) for x in value)


def _inline(one: Told) -> Iterator[str]:
    for key, value in one.items():
        if _said(value):
            yield f"{key} = {_value(value)}"


def _said(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_said, value.values()))
    return value not in (None, "", [])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items() if _said(v)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def answer(told: Told) -> Iterator[str]:
    """What became of an action."""
    yield safe(told["text"])
    yield from (f"  {_difference(one)}" for one in told["differences"])


def _difference(one: Told) -> str:
    colours = {"added": "green", "removed": "red", "changed": "yellow"}
    return click.style(safe(one["text"]), fg=colours[one["what"]])


_TRAFFIC = ("in flight", "req/s", "requests", "4xx", "5xx", "p50", "p99")


def _traffic(one: Told) -> tuple[str, ...]:
    responses = one["responses"]
    quantiles = one["latency"]["recent"] or one["latency"]["overall"]
    return (
        str(one["in_flight"]),
        amount(one["rates"]["requests"]) if one["rates"] else "",
        amount(one["counters"]["requests"]),
        amount(responses["4xx"]),
        amount(responses["5xx"]),
        moments(quantiles["p50"]),
        moments(quantiles["p99"]),
    )


def _phase(word: str) -> str:
    return click.style(word, fg=PHASES.get(word))


def _since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def certificates(told: Told) -> list[str]:
    """A line a certificate, those that end first on top."""
    rows = []
    for one in told["certificates"]:
        left = one["days_left"]
        color = "red" if left <= 3 else "yellow" if left <= 30 else "green"
        names = safe(", ".join(one["names"][:3]) or one["subject"])
        where = f"{one['frontend']} {one['listen']}"
        end = one["not_after"][:16].replace("T", " ")
        rows.append((safe(where), names, one["key"], end, click.style(f"{left:.0f}", fg=color), safe(one["file"])))
    return table(("listener", "names", "key", "ends (UTC)", "days", "file"), rows, right=("days",))
