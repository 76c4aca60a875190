"""Keys that a table does not know: which one was meant, or where it belongs."""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from .model import Config
from .paths import Path
from .suggest import nearest


def unknown_key(path: Path) -> tuple[str, str]:
    """Reason and nearest known key ('' = none) for a key that its table does not know."""
    table = _model_at(path[:-1])
    last = str(path[-1])
    if table is None:
        return "unknown key", ""
    guess = nearest(last, _keys(table), _KEY_ALIASES)
    if guess:
        return "unknown key", guess
    places = _places()
    if elsewhere := nearest(last, places):
        home = next((place for place in places[elsewhere] if place), "")
        if home:
            return f"unknown key here; {elsewhere} belongs in [{home}]", ""
    return f"unknown key; known are {', '.join(_keys(table))}", ""


# What other programs call the keys, and what comes to mind first.
_KEY_ALIASES = {
    "bind": "listen",
    "server": "servers",
    "address": "listen",
    "upstream": "backend",
    "upstreams": "servers",
    "default_backend": "backend",
    "use_backend": "backend",
    "maxconn": "max_connections",
    "algorithm": "balance",
    "lb_policy": "balance",
    "check": "health_check",
    "healthcheck": "health_check",
    "uri": "path",
    "addr": "address",
    "hosts": "host",
    "nbproc": "workers",
    "nbthread": "workers",
    "threads": "workers",
    "processes": "workers",
    "return": "respond",
    "certificate": "cert",
    "crt": "cert",
}


def _keys(table: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in table.model_fields.items()]


def _model_at(path: Path) -> type[BaseModel] | None:
    """The model of the table at a path of the user's configuration."""
    annotation: Any = Config
    for step in path:
        annotation = _step(_bare(annotation), step)
        if annotation is None:
            return None
    annotation = _bare(annotation)
    if get_origin(annotation) is list:  # a single table in the place of a list
        annotation = _bare(get_args(annotation)[0])
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _step(annotation: Any, step: str | int) -> Any:
    if get_origin(annotation) is list:
        inner = get_args(annotation)[0]
        return inner if isinstance(step, int) else _step(_bare(inner), step)
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if step == (field.alias or name):
                return field.annotation
    return None


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
        else:
            return annotation


@cache
def _places() -> dict[str, list[str]]:
    """Each key, and the tables that know it: for keys that stand in the wrong table."""
    found: dict[str, list[str]] = {}

    def walk(table: type[BaseModel], place: str) -> None:
        for name, field in table.model_fields.items():
            key = field.alias or name
            found.setdefault(key, []).append(place)
            inner = _bare(field.annotation)
            below = f"{place}.{key}" if place else key
            if get_origin(inner) is dict:
                inner = _bare(get_args(inner)[1])
                below += ".NAME"
            elif get_origin(inner) is list:
                inner = _bare(get_args(inner)[0])
                below = f"[{below}]"
            if isinstance(inner, type) and issubclass(inner, BaseModel) and below.count(".") < 5:
                walk(inner, below)

    walk(Config, "")
    return found
