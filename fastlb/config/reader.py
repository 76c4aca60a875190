"""Reading a configuration: a file, a text or a mapping in; a `Spec`, or everything that is wrong, out."""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlb.errors import MISSING, ConfigError, ConfigWarning, Problem
from fastlb.spec import Spec

from . import checks
from .convert import to_spec
from .lines import KeyLines
from .paths import dotted
from .structure import Finding, Structure, read_structure, value_at


@dataclass(frozen=True, slots=True)
class Report:
    """What came of reading a configuration. `spec` is None exactly when there are errors."""

    spec: Spec | None
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load(path: str | os.PathLike[str]) -> Spec:
    """The `Spec` of a TOML file.

    Raises `ConfigError` with every problem there is, also where the file cannot be read. What is probably not meant
    but works is reported as `ConfigWarning`.
    """
    return _accepted(check_file(path))


def parse(configuration: Mapping[str, Any] | str, *, source: str = "") -> Spec:
    """The `Spec` of a mapping or of a TOML text. `source` names it in messages. Raises and warns like `load`."""
    if isinstance(configuration, str):
        return _accepted(check_text(configuration, source))
    return _accepted(check_mapping(configuration, source))


def check_file(path: str | os.PathLike[str]) -> Report:
    """Like `load`, but returns what it found."""
    name = os.fspath(path)
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        return _failed(name, f"cannot be read: {error.strerror or error}")
    return check_bytes(data, name)


def check_bytes(data: bytes, source: str = "") -> Report:
    """Like `check_text`, for what a file holds: UTF-8, perhaps with a byte order mark."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        return _failed(source, f"TOML is UTF-8, and byte 0x{data[error.start]:02x} here is not", line, column)
    return check_text(text, source)


def check_text(text: str, source: str = "") -> Report:
    """Like `parse` of a text, but returns what it found."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_error(text, source, error)
    except RecursionError:
        return _failed(source, "nested too deeply")
    return _report(raw, source, text)


def check_mapping(configuration: Mapping[str, Any], source: str = "") -> Report:
    """Like `parse` of a mapping, but returns what it found."""
    return _report(configuration, source, None)


def _accepted(report: Report) -> Spec:
    if report.spec is None:
        raise ConfigError(list(report.errors))
    for problem in report.warnings:
        warnings.warn(ConfigWarning(str(problem)), stacklevel=3)
    return report.spec


def _report(raw: Mapping[str, Any], source: str, text: str | None) -> Report:
    structure = read_structure(raw)
    findings = structure.findings + checks.check(structure)
    problems = _problems(findings, structure, source, text) if findings else []
    errors = tuple(p for p in problems if p.severity == "error")
    return Report(
        spec=None if errors else to_spec(structure.model, source),
        errors=errors,
        warnings=tuple(p for p in problems if p.severity == "warning"),
    )


def _problems(findings: list[Finding], structure: Structure, source: str, text: str | None) -> list[Problem]:
    lines = KeyLines(text) if text is not None else None
    problems = []
    for finding in findings:
        there, value = value_at(structure.raw, finding.path)
        problems.append(
            Problem(
                key=dotted(finding.path),
                value=value if there and not finding.missing else MISSING,
                reason=finding.reason,
                nearest=finding.nearest,
                file=source,
                line=lines.of(finding.path) if lines else 0,
                severity="warning" if finding.warning else "error",
            )
        )
    return sorted(problems, key=lambda problem: problem.line)  # stable: without lines in the order of the checks


def _failed(source: str, reason: str, line: int = 0, column: int = 0) -> Report:
    problem = Problem(key="", value=MISSING, reason=reason, file=source, line=line, column=column)
    return Report(spec=None, errors=(problem,))


def _toml_reason(message: str) -> str:
    """What tomllib says, less the Python in it."""
    if message == "Illegal character '\\n'":
        return "the string does not end on its line"
    message = re.sub(r"\(('[^()]*'),?\)", lambda m: dotted(tuple(re.findall(r"'([^']*)'", m[1]))), message)
    return message[:1].lower() + message[1:]


def _syntax_error(text: str, source: str, error: tomllib.TOMLDecodeError) -> Report:
    message = str(error)
    if match := re.search(r" \(at line (\d+), column (\d+)\)$", message):
        line, column = int(match[1]), int(match[2])
    else:  # at the end of the document
        line = text.count("\n") + 1
        column = len(text) - (text.rfind("\n") + 1) + 1
    reason = f"not valid TOML: {_toml_reason(re.sub(r' [(]at [^()]*[)]$', '', message))}"
    if not source and "\n" not in text and "=" not in text and (text.endswith(".toml") or os.sep in text):
        reason += "; to read a file, call fastlb.load()"
    return _failed(source or "<text>", reason, line, column)
