"""The file that holds the supervisor's process id."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_pid_file(path: str) -> None:
    """Puts our process id into the file, which is whole at every moment. Raises OSError."""
    target = Path(path)
    try:
        fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except PermissionError:
        # The directory is root's, and the process has given root's rights up: the file itself was left to it.
        with target.open("r+", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
            file.truncate()
        return
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def read_pid_file(path: str) -> int:
    """The process id in the file. Raises OSError, or ValueError when there is none in it."""
    text = Path(path).read_text("ascii", "replace").strip()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{path} holds no process id")
    return int(text)


def remove_pid_file(path: str) -> None:
    """Removes the file where it is ours (after an upgrade it is the successor's); empties it if no more is allowed."""
    with contextlib.suppress(OSError, ValueError):
        if read_pid_file(path) != os.getpid():
            return
        try:
            Path(path).unlink()
        except PermissionError:
            os.truncate(path, 0)
