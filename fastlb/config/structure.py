"""Structure of a configuration: every error of it, and what is left when the wrong parts are taken out.

The checks across tables (`checks.py`) need a model. So that a wrong timeout does not hide an unknown backend, wrong
values are taken out of a copy until the rest makes a model, and the checks run on that.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .model import Config
from .paths import Path
from .suggest import Invalid, nearest

MAX_DEPTH = 32


class _Dropped:
    """Stands in a list for an item that was taken out, so that those after it keep their index."""


_DROPPED = _Dropped()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, before it becomes a `Problem`."""

    path: Path  # in the user's own configuration
    reason: str
    nearest: str = ""
    warning: bool = False
    missing: bool = False  # the key is not there at all


@dataclass(slots=True)
class Structure:
    """What became of a raw configuration."""

    raw: dict[str, Any]  # as given, in plain dicts and lists
    model: Config  # of all that was right
    findings: list[Finding]
    _tree: Any

    def original(self, path: Path) -> Path:
        """The user's path of a path of the model: with the indices of before, and without what shorthand added."""
        return _original(self._tree, path)


def read_structure(mapping: Mapping[Any, Any]) -> Structure:
    """The model and all findings of a raw configuration. Takes what TOML can hold, and tuples and paths as well."""
    findings: list[Finding] = []
    raw = _plain(mapping, (), findings)
    tree = _plain(mapping, (), [])
    broken = bool(findings)
    while True:
        try:
            model = Config.model_validate(_compact(tree))
            return Structure(raw, model, findings, tree)
        except ValidationError as error:
            details = error.errors(include_url=False)
            paths = [(_original(tree, _clean(d["loc"])), d) for d in details]
            if not broken:  # what comes up later only follows from what was taken out
                findings.extend(_finding(path, detail, raw) for path, detail in paths)
            wrong = [path[:-1] if _key_is_missing(detail, tree, path) else path for path, detail in paths]
            dropped = [_drop(tree, path) for path in wrong]
            if not any(dropped):
                tree = {}  # never seen; but this loop has to end
        broken = True


def value_at(raw: object, path: Path) -> tuple[bool, object]:
    """Whether there is something at the path, and what."""
    node = raw
    for step in path:
        if isinstance(node, dict):
            known = step in node
        else:
            known = isinstance(node, list) and isinstance(step, int) and step < len(node)
        if known:
            node = node[step]  # type: ignore[index]
        else:
            return False, None
    return True, node


def _plain(value: object, path: Path, findings: list[Finding]) -> Any:
    """A deep copy in dicts and lists, so that nothing is shared with the caller."""
    if len(path) > MAX_DEPTH:
        findings.append(Finding(path, "nested too deeply"))
        return None
    if isinstance(value, Mapping):
        table: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(key, str):
                table[str(key)] = _plain(item, (*path, key), findings)
            else:
                findings.append(Finding((*path, str(key)), "keys are strings"))
        return table
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_plain(item, (*path, index), findings) for index, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    return value


def _compact(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _compact(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_compact(item) for item in tree if item is not _DROPPED]
    return tree


def _clean(loc: tuple[int | str, ...]) -> Path:
    """Without the mark that pydantic puts after a wrong key of a mapping."""
    return loc[:-1] if loc and loc[-1] == "[key]" else loc


def _original(tree: Any, path: Path) -> Path:
    """See `Structure.original`. A last step that is not there stays: it names a key that is missing."""
    node = tree
    result: Path = ()
    for number, step in enumerate(path):
        if isinstance(node, dict):
            if isinstance(step, int):  # a single table in the place of a list of them
                continue
            result += (step,)
            if step not in node:
                return result + path[number + 1 :]
            node = node[step]
        elif isinstance(node, list):
            if isinstance(step, str):  # a list in the place of a table
                return result
            kept = [index for index, item in enumerate(node) if item is not _DROPPED]
            if step >= len(kept):
                return result
            result += (kept[step],)
            node = node[kept[step]]
        else:  # shorthand
            return result
    return result


def _key_is_missing(detail: ErrorDetails, tree: Any, path: Path) -> bool:
    return detail["type"] == "missing" and not value_at(tree, path)[0]


def _drop(tree: Any, path: Path) -> bool:
    """Takes out what is at the path, if it is there."""
    there, parent = value_at(tree, path[:-1])
    if not there or not path:
        return False
    last = path[-1]
    if isinstance(parent, dict) and last in parent:
        del parent[last]
        return True
    if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent[last] = _DROPPED
        return True
    return False


def _finding(path: Path, detail: ErrorDetails, raw: Any) -> Finding:
    kind = detail["type"]
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, Invalid):
        return Finding(path, cause.reason, cause.nearest)
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return Finding(path, "this key is needed", missing=not value_at(raw, path)[0])
    _, value = value_at(raw, path)
    reason = _REASONS.get(kind)
    if reason is None:
        return Finding(path, detail["msg"])
    text = reason.format_map(context)
    if isinstance(value, str) and kind in _UNQUOTED and _UNQUOTED[kind](value):
        text += f", without quotes: {value.strip().lower()}"
    return Finding(path, text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_REASONS = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "is empty",
}
_UNQUOTED: dict[str, Callable[[str], bool]] = {
    "int_type": lambda text: text.strip().isdecimal(),
    "float_type": _is_number,
    "bool_type": lambda text: text.strip().lower() in ("true", "false"),
}


def _unknown(path: Path) -> Finding:
    table = _model_at(path[:-1])
    last = str(path[-1])
    if table is None:
        return Finding(path, "unknown key")
    guess = nearest(last, _keys(table), _KEY_ALIASES)
    if guess:
        return Finding(path, "unknown key", guess)
    if homes := [place for place in _places().get(last, ()) if place]:
        return Finding(path, f"unknown key here; it belongs into [{homes[0]}]")
    return Finding(path, f"unknown key; known are {', '.join(_keys(table))}")


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
            annotation = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
        else:
            return annotation


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
