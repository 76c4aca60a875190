"""Files of names and hashed passwords, as htpasswd writes them."""

from __future__ import annotations

from pathlib import Path

from . import hashes

LARGEST = 16 << 20  # bytes of a file


class Wrong(ValueError):
    """What a file or entry holds cannot be used. `args[0]` says why."""


def entry(line: str) -> tuple[str, str]:
    """(name, hash) of a line `name:hash`; further fields behind another colon are left out, as nginx does."""
    name, colon, rest = line.partition(":")
    stored = rest.partition(":")[0].strip()
    if not colon or not name:
        raise Wrong("is not name:hash")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in name):
        raise Wrong("the name holds a control character")
    kind = hashes.kind_of(stored)
    if not kind:
        raise Wrong(f"the password of {name} is not hashed in a known way: {', '.join(hashes.KINDS)}")
    if not hashes.usable(kind):
        raise Wrong(f"the password of {name} is {kind}, for which this machine has no library")
    return name, stored


def read(path: str) -> dict[str, str]:
    """Names and hashes of a file. Raises Wrong with the line's number, or why there is nothing to read."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from error
    if len(raw) > LARGEST:
        raise Wrong(f"{path}: larger than {LARGEST >> 20} MB")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Wrong(f"{path}: not UTF-8") from error
    users: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, stored = entry(line)
        except Wrong as error:
            raise Wrong(f"{path}, line {number}: {error}") from error
        users.setdefault(name, stored)  # the first one counts, as everywhere
    if not users:
        raise Wrong(f"{path}: names nobody")
    return users
