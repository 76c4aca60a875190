"""Writes a mapping as TOML, for configurations that tests make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def value(v: Any) -> str:
    """One TOML value; tables are written inline."""
    if isinstance(v, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {value(x)}" for k, x in v.items()) + " }"
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(value(x) for x in v) + "]"
    return json.dumps(v)  # strings, numbers and booleans are written alike


def dump(mapping: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(k)} = {value(v)}\n" for k, v in mapping.items())
