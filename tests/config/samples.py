"""Configurations that tests share."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fastlb.config import Report, check_text

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.toml"))
GOLDEN = Path(__file__).parent / "golden"

MINIMAL = """\
[frontends.web]
listen = ":8080"
backend = "app"
[backends.app]
servers = ["10.0.0.1:80"]
"""


def with_tables(text: str, base: str = MINIMAL) -> dict[str, Any]:
    """The base configuration, with the tables of another text laid over it key by key."""
    return overlay(tomllib.loads(base), tomllib.loads(text))


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def messages(text: str) -> list[str]:
    """Every problem of a text, errors first."""
    report = check_text(text)
    return texts(report)


def texts(report: Report) -> list[str]:
    return [str(problem) for problem in (*report.errors, *report.warnings)]
