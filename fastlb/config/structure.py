"""Structure of a configuration: every error of it, and what is left when the wrong parts are taken out.

The checks across tables (`checks.py`) need a model. So that a wrong timeout does not hide an unknown backend, wrong
values are taken out of a copy until the rest makes a model, and the checks run on that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .model import Config
from .paths import Path
from .suggest import Invalid
from .unknown import unknown_key

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
    _tree: _Tree

    def original(self, path: Path) -> Path:
        """The user's path of a path of the model: with the indices of before, and without what shorthand added."""
        return self._tree.original(path)


def read_structure(mapping: Mapping[Any, Any]) -> Structure:
    """The model and all findings of a raw configuration. Takes what TOML can hold, and tuples and paths as well."""
    findings: list[Finding] = []
    raw = _plain(mapping, (), findings)
    tree = _Tree(_plain(mapping, (), []))
    first = True
    while True:
        try:
            return Structure(raw, Config.model_validate(tree.rest()), findings, tree)
        except ValidationError as error:
            details = error.errors(include_url=False)
        paths = [tree.original(_clean(detail["loc"])) for detail in details]
        if first:  # what comes up later only follows from what was taken out
            findings = _first_findings(findings, [_finding(p, d, raw) for p, d in zip(paths, details, strict=True)])
            first = False
        missing = [detail["type"] == "missing" for detail in details]
        dropped = [tree.drop(path, whole=gone) for path, gone in zip(paths, missing, strict=True)]
        if not any(dropped):
            tree = _Tree({})  # never seen; but this loop has to end


def _first_findings(copying: list[Finding], validating: list[Finding]) -> list[Finding]:
    """All of them, less what only follows from another: what was not copied is no wrong value, and a misspelt key is
    not missing as well."""
    gone = [finding.path for finding in copying]
    misspelt = {(*finding.path[:-1], finding.nearest) for finding in validating if finding.path}
    return copying + [
        finding
        for finding in validating
        if not any(path[: len(finding.path)] == finding.path for path in gone)
        and not (finding.missing and finding.path in misspelt)
    ]


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
        findings.append(Finding(path, "nested too deeply", missing=True))
        return None
    if isinstance(value, Mapping):
        table: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(key, str) and _is_text(key):
                table[str(key)] = _plain(item, (*path, key), findings)
            else:
                findings.append(Finding((*path, ascii(key)), "not a string that UTF-8 can write"))
        return table
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_plain(item, (*path, index), findings) for index, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, str) and not _is_text(value):
        findings.append(Finding(path, "holds what UTF-8 cannot write"))
        return ""
    return value


def _is_text(value: str) -> bool:
    """False for lone surrogates: a TOML file cannot hold them, a mapping can."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clean(loc: tuple[int | str, ...]) -> Path:
    """Without the mark that pydantic puts after a wrong key of a mapping."""
    return loc[:-1] if loc and loc[-1] == "[key]" else loc


class _Tree:
    """The raw configuration, from which wrong parts are taken out without moving the others."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        # Of lists that lost items, by id: indices of those that stay; [] = to be found again
        self._kept: dict[int, list[int]] = {}

    def rest(self) -> Any:
        """A copy without what was taken out."""
        return self._rest(self._root)

    def _rest(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {key: self._rest(item) for key, item in node.items()}
        if isinstance(node, list):
            return [self._rest(item) for item in node if item is not _DROPPED]
        return node

    def original(self, path: Path) -> Path:
        """See `Structure.original`. A last step that is not there stays: it names a key that is missing."""
        node: Any = self._root
        result: Path = ()
        for number, step in enumerate(path):
            if isinstance(node, dict):
                if isinstance(step, int):  # a single table in the place of a list of them
                    continue
                result += (step,)
                if step not in node:
                    return result + path[number + 1 :]
                node = node[step]
            elif isinstance(node, list) and isinstance(step, int):
                index = self._index(node, step)
                result += (index,)
                node = node[index]
            else:  # shorthand, or a list in the place of a table
                return result
        return result

    def _index(self, items: list[Any], step: int) -> int:
        kept = self._kept.get(id(items))
        if kept is None:
            return step
        if not kept:
            kept += [index for index, item in enumerate(items) if item is not _DROPPED]
        return kept[step]

    def drop(self, path: Path, *, whole: bool) -> bool:
        """Takes out what is at the path; `whole`: a key is missing there, so the table that lacks it."""
        if whole and not value_at(self._root, path)[0]:
            path = path[:-1]
        there, parent = value_at(self._root, path[:-1])
        if not there or not path:
            return False
        last = path[-1]
        if isinstance(parent, dict) and last in parent:
            del parent[last]
            return True
        if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
            parent[last] = _DROPPED
            self._kept[id(parent)] = []
            return True
        return False


def _finding(path: Path, detail: ErrorDetails, raw: Any) -> Finding:
    kind = detail["type"]
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, Invalid):
        return Finding(path, cause.reason, cause.nearest)
    if kind == "extra_forbidden":
        return Finding(path, *unknown_key(path))
    if kind == "missing":
        return Finding(path, "this key is needed", missing=not value_at(raw, path)[0])
    _, value = value_at(raw, path)
    reason = _REASONS.get(kind)
    if reason is None:
        return Finding(path, detail["msg"])
    text = reason.format_map(context)
    if isinstance(value, str) and (unquoted := _unquoted(kind, value.strip().lower())):
        text += f", without quotes: {unquoted}"
    return Finding(path, text)


def _unquoted(kind: str, text: str) -> str:
    """What a quoted text stands for where something else than text is wanted."""
    if kind == "bool_type":
        return {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}.get(
            text, ""
        )
    if kind == "int_type" or kind == "float_type":
        return (
            text if re.fullmatch(r"-?[0-9]+" if kind == "int_type" else r"-?[0-9]+(\.[0-9]+)?", text, re.ASCII) else ""
        )
    return ""


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
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "is empty",
}
