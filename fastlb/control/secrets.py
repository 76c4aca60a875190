"""Secrets of the configuration: the text itself, `env:NAME` or `file:PATH`."""

from __future__ import annotations

import os
from pathlib import Path

from fastlb.errors import MISSING, ConfigError, Problem


def read_secret(text: str, key: str = "secret") -> bytes:
    """What the text stands for. Raises ConfigError about `key` where there is nothing."""
    if text.startswith("env:"):
        found = os.environb.get(text[4:].encode(), b"")
    elif text.startswith("file:"):
        try:
            found = Path(text[5:]).read_bytes().strip()
        except OSError as error:
            raise ConfigError([Problem(key, MISSING, f"{text[5:]}: {error.strerror}")]) from error
    else:
        return text.encode()
    if not found:
        raise ConfigError([Problem(key, MISSING, f"{text} is empty or not set")])
    return found
