"""Notices that files have changed, by looking at them every second.

Not by inotify: a directory that a container mounts, a symbolic link that is swapped (as Kubernetes does) and network
file systems do not tell, and a few stats a second cost nothing that could be measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fastlb.spec import Spec

PERIOD = 1.0  # seconds
LOOKS = 40  # at a file that does not come to rest, quarter periods apart, until it is taken as it is

Mark = tuple[int, int, int, int] | None
Marks = dict[str, Mark]


def files_of(spec: Spec) -> list[str]:
    """The files beside the configuration that `spec` takes effect by: certificates, keys, and what else TLS reads."""
    found: dict[str, None] = {}
    for table in (*(listen.tls for f in spec.frontends for listen in f.listen), *spec.backends):
        if table is not None:
            found.update(dict.fromkeys(_tls_files(table)))
    return list(found)


def _tls_files(table: Any) -> Iterator[str]:
    """Texts in a table of TLS settings (or in such tables right below it) that are the paths of files."""
    ours = "tls" in type(table).__name__.lower()
    for field in dataclasses.fields(table):
        value = getattr(table, field.name)
        texts = value if isinstance(value, tuple) else (value,)
        if ours and all(isinstance(text, str) for text in texts):
            yield from (text for text in texts if text and Path(text).exists())
        elif dataclasses.is_dataclass(value) and "tls" in type(value).__name__.lower():
            yield from _tls_files(value)


def marks_of(paths: Iterable[str]) -> Marks:
    """What changes with the files' content, links followed; None = it is not there. Directories with what is in them.

    Blocks on the file system.
    """
    found: Marks = {}
    for path in paths:
        found[path] = _mark(path)
        if os.path.isdir(path):  # noqa: PTH112 (a Path is made for nothing every second)
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                found |= {entry.path: _mark(entry.path) for entry in entries}
    return found


def _mark(path: str) -> Mark:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


async def watch(
    files: Callable[[], Iterable[str]],
    changed: Callable[[], object],
    known: Marks | None = None,
    *,
    period: float = PERIOD,
) -> None:
    """Calls `changed()` each time one of `files()` has become another one and is not being written any more.

    `known` is what they were when they were read. Files that join the list are known from then on; while it is empty
    nothing is looked at. Never returns.
    """
    known = known or {}
    while True:
        paths = list(files())
        now = await asyncio.to_thread(marks_of, paths)
        # What joins a directory, or leaves it, shows in the directory's own mark.
        if all(known.get(path, mark) == mark for path, mark in now.items()):
            known = now
            await asyncio.sleep(period)
            continue
        # An editor may be in the middle of writing, or between removing and renaming: what counts is what holds still.
        for _ in range(LOOKS):
            await asyncio.sleep(period / 4)
            later = await asyncio.to_thread(marks_of, paths)
            if later == now and None not in now.values():
                break
            now = later
        known = now
        changed()
