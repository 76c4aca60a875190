"""Reads the configuration that an option names."""

from __future__ import annotations

import sys

from fastlb.config import Report, check_bytes, check_file


def read(file: str) -> Report:
    """The file, or standard input for '-'."""
    if file == "-":
        return check_bytes(sys.stdin.buffer.read(), "<stdin>")
    return check_file(file)
