"""Configuration: a TOML file, a text or a mapping becomes a `fastlb.spec.Spec`, or a list of all that is wrong."""

from __future__ import annotations

from .overlay import with_overlay
from .reader import Report, check_bytes, check_file, check_mapping, check_text, load, parse
from .schema import json_schema

__all__ = [
    "Report",
    "check_bytes",
    "check_file",
    "check_mapping",
    "check_text",
    "json_schema",
    "load",
    "parse",
    "with_overlay",
]
