"""Writes run-time changes as the overlay file that the next start reads (fastlb.config.overlay)."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fastlb.spec import ServerChange

HEAD = """\
# Changes of servers made at run time, over what the configuration says. Written by fastlb, read when it starts.
"""


def overlay_text(changes: Iterable[ServerChange]) -> str:
    """The file for these changes."""
    parts = [HEAD]
    for change in changes:
        lines = ["[[servers]]", f"backend = {_string(change.backend)}", f"address = {_string(str(change.address))}"]
        if change.name != str(change.address):
            lines.append(f"name = {_string(change.name)}")
        if change.added is not None:
            lines.append("added = true")
            if change.added.backup:
                lines.append("backup = true")
            if change.added.tier:
                lines.append(f"tier = {change.added.tier}")
        if change.removed:
            lines.append("removed = true")
        for key, value in (("weight", change.weight), ("max_connections", change.max_connections)):
            if value is not None:
                lines.append(f"{key} = {value}")
        for key, word in (("state", change.state), ("reason", change.reason)):
            if word:
                lines.append(f"{key} = {_string(word)}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def write_overlay(path: str, changes: Iterable[ServerChange]) -> None:
    """Replaces the file at once and for good: after a power cut there is the old one or the new one. Raises OSError."""
    target = Path(path)
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(overlay_text(changes))
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
