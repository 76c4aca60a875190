"""The overlay: changes that were made to servers at run time, in a file of their own that the program writes.

    [[servers]]
    backend = "app"
    address = "10.0.0.1:8080"
    state = "drain"

A running fastlb does not read it again: until it stops, what it knows is newer.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationError

from fastlb import spec
from fastlb.errors import MISSING, Problem

from .lines import KeyLines
from .models_backends import BACKUP_TIER, State
from .paths import dotted
from .reader import Report
from .structure import value_at
from .suggest import Invalid, nearest
from .syntax import text
from .types import MAX_TIER, MAX_WEIGHT, Count, Name, ServerAddress, Table, option

MAX_REASON = 200


def reason_line(value: object) -> str:
    """A line of text for people."""
    found = text(value)
    if len(found) > MAX_REASON or not found.isprintable():
        raise Invalid(f"must be one line of at most {MAX_REASON} characters")
    return found


class ChangeTable(Table):
    """What was changed on one server."""

    backend: Name = option()
    address: ServerAddress = option()
    name: Name | None = None
    state: State | None = None
    weight: Annotated[int, Field(ge=0, le=MAX_WEIGHT)] | None = None
    max_connections: Count | None = None
    added: bool = False
    backup: bool = False
    tier: Annotated[int, Field(ge=0, le=MAX_TIER)] = 0
    removed: bool = False
    reason: Annotated[str, PlainValidator(reason_line)] = ""


class OverlayTable(Table):
    """The whole file."""

    servers: list[ChangeTable] = option(list)


def with_overlay(report: Report) -> Report:
    """`report` with the changes of its overlay in the Spec; what is wrong with that file is added to the problems."""
    if report.spec is None or not report.spec.global_.overlay:
        return report
    changes, problems = read_overlay(report.spec.global_.overlay)
    errors = tuple(p for p in problems if p.severity == "error")
    if not errors:
        problems += _lost(report.spec, changes)
    return Report(
        spec=None if errors else dataclasses.replace(report.spec, changes=tuple(changes)),
        errors=report.errors + errors,
        warnings=report.warnings + tuple(p for p in problems if p.severity == "warning"),
    )


def read_overlay(path: str) -> tuple[list[spec.ServerChange], list[Problem]]:
    """The changes in a file; [] where there is no file, which is how it begins. Problems are errors."""
    try:
        data = Path(path).read_text("utf-8")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Problem("", MISSING, f"cannot be read: {error.strerror or error}", file=path)]
    except UnicodeDecodeError:
        return [], [Problem("", MISSING, "TOML is UTF-8, and this is not", file=path)]
    try:
        raw = tomllib.loads(data)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return [], [Problem("", MISSING, f"not valid TOML: {error}", file=path)]
    try:
        table = OverlayTable.model_validate(raw)
    except ValidationError as error:
        lines = KeyLines(data)
        return [], [_problem(detail, raw, path, lines) for detail in error.errors(include_url=False)]
    if both := [index for index, entry in enumerate(table.servers) if entry.backup and entry.tier]:
        lines = KeyLines(data)
        return [], [
            Problem(f"servers[{i}].tier", table.servers[i].tier, BACKUP_TIER, "0", file=path,
                    line=lines.of(("servers", i, "tier")))
            for i in both
        ]  # fmt: skip
    return [_change(entry) for entry in table.servers], []


def _problem(detail: Any, raw: dict[str, Any], path: str, lines: KeyLines) -> Problem:
    where = tuple(detail["loc"])
    there, value = value_at(raw, where)
    cause = detail.get("ctx", {}).get("error")
    guess = ""
    if isinstance(cause, Invalid):
        why, guess = cause.reason, cause.nearest
    elif detail["type"] == "extra_forbidden":
        known = ChangeTable.model_fields if where[0] == "servers" else OverlayTable.model_fields
        why, guess = "unknown key", nearest(str(where[-1]), list(known))
    else:
        why = "this key is needed" if detail["type"] == "missing" else detail["msg"]
    return Problem(dotted(where), value if there else MISSING, why, guess, file=path, line=lines.of(where))


def _change(entry: ChangeTable) -> spec.ServerChange:
    name = entry.name or str(entry.address)
    added = spec.Server(name, entry.address, backup=entry.backup, tier=entry.tier) if entry.added else None
    return spec.ServerChange(
        backend=entry.backend,
        address=entry.address,
        name=name,
        state=spec.ServerState(entry.state) if entry.state is not None else None,
        weight=entry.weight,
        max_connections=entry.max_connections,
        added=added,
        removed=entry.removed,
        reason=entry.reason,
    )


def _lost(found: spec.Spec, changes: list[spec.ServerChange]) -> list[Problem]:
    """Warnings for changes of what the configuration does not have."""
    servers = {(b.name, s.address) for b in found.backends for s in b.servers}
    backends = {b.name for b in found.backends}
    open_ended = {b.name for b in found.backends if b.discover}  # it may be one that is found
    problems = []
    for index, change in enumerate(changes):
        known = change.backend in backends and (
            change.added is not None or change.backend in open_ended or (change.backend, change.address) in servers
        )
        if not known:
            why = "there is no such server in the configuration; the change has no effect"
            value = f"{change.backend}/{change.name}"
            problems.append(Problem(f"servers[{index}]", value, why, file=found.global_.overlay, severity="warning"))
    return problems
