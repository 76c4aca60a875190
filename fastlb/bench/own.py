"""A user's own configuration as a scene: fastlb runs it with stand-ins as servers, peers what they share with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from fastlb.bench.scene import Scene

# What a measurement would do to the outside, or what stand-ins for the servers cannot answer
LEFT_OUT = ("health_check", "agent_check", "tls")
# What peers are not told: fastlb does more work than they do then, and the report says so
MORE = ("routes", "rate_limits", "request_headers", "response_headers", "redirect_https", "limits", "explain")


def scene_of_file(
    text: str, frontend: str = "", workers: int = 1, ports: tuple[int, ...] = ()
) -> tuple[Scene, list[str]]:
    """The scene of a frontend (the first one of mode http or tcp), and what is not equal for the peers.

    `ports` stand in for the servers of all backends, in turn; without, the scene only says how many are needed.
    Raises ValueError where there is nothing to measure. The text must have passed the configuration's own check.
    """
    data = tomllib.loads(text)
    frontends: dict[str, Any] = data.get("frontends", {})
    name = frontend or next((n for n, f in frontends.items() if f.get("mode", "http") in ("http", "tcp")), "")
    if name not in frontends:
        raise ValueError(f"there is no frontend {name!r} to measure")
    front = frontends[name]
    backends: dict[str, Any] = data.get("backends", {})
    used = front.get("backend") or next((r["backend"] for r in front.get("routes", []) if "backend" in r), "")
    if used not in backends:
        raise ValueError(f"frontend {name} has no backend")
    servers = _list(backends[used]["servers"])
    weights = tuple(int(s.get("weight", 1)) if isinstance(s, dict) else 1 for s in servers)
    notes = [f"frontend {name}: {key} is fastlb's alone here" for key in MORE if front.get(key)]
    for backend in backends.values():
        stand_in = iter(ports * (1 + len(_list(backend["servers"]))) if ports else ())
        backend["servers"] = [_at(s, next(stand_in, 0)) for s in _list(backend["servers"])]
        for key in LEFT_OUT:
            if backend.pop(key, None) is not None:
                notes.append(f"{key} is left out")
    front.pop("redirect_https", None)
    listens = _list(front.get("listen", []))
    secure = any(isinstance(one, dict) and one.get("tls") for one in listens)
    if secure:
        notes.append(f"frontend {name}: measured over TLS, with a certificate of the measurement and default options")
    front["listen"] = "127.0.0.1:@PORT@"
    mode = front.get("mode", "http")
    kept = {key: value for key, value in data.items() if key not in ("admin", "global", "log", "frontends", "include")}
    own = {
        "global": {"workers": workers},
        "log": {**data.get("log", {}), "access": "@LOG@"},
        "frontends": {name: front},
        **kept,
    }
    balance = backends[used].get("balance", "two_choices")
    algorithm = balance if isinstance(balance, str) else balance.get("algorithm", "two_choices")
    if algorithm not in ("round_robin", "weighted_round_robin", "least_connections"):
        notes.append(f"balance: peers use least connections in place of {algorithm}")
    scene = Scene(
        servers=tuple(ports[i % len(ports)] for i in range(len(servers))) if ports else (0,) * len(servers),
        weights=weights if len(set(weights)) > 1 else (),
        workers=workers,
        log=data.get("log", {}).get("access", "stdout") != "off",
        mode=mode,
        secure=secure,
        balance="round_robin" if algorithm.endswith("round_robin") else "least_connections",
        extra=dump(own),
    )
    return scene, list(dict.fromkeys(notes))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _at(server: Any, port: int) -> dict[str, Any]:
    """The server's options at another address; a name keeps two stand-ins of one port apart."""
    options = dict(server) if isinstance(server, dict) else {"address": server}
    options.setdefault("name", str(options["address"]).replace("/", "_").replace("[", "").replace("]", ""))
    for key in LEFT_OUT:
        options.pop(key, None)
    return {**options, "address": f"127.0.0.1:{port}"}


def dump(data: Mapping[str, Any]) -> str:
    """TOML of tables of tables: two levels of headers, the rest in line."""
    lines = []
    for section, table in data.items():
        if any(not isinstance(v, dict) for v in table.values()) or not table:
            lines += [f"[{section}]", *(f"{_key(k)} = {_value(v)}" for k, v in table.items()), ""]
        else:
            for name, inner in table.items():
                lines += [f"[{section}.{_key(name)}]", *(f"{_key(k)} = {_value(v)}" for k, v in inner.items()), ""]
    return "\n".join(lines)


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value)  # JSON's strings and booleans are TOML's
    return str(value)
