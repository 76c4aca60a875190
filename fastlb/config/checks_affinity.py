"""Checks of affinity tables: keys that belong to one type, secrets that can be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from .models_backends import BackendTable
from .paths import Path
from .structure import Finding
from .suggest import listed

_COOKIE = (
    "secrets",
    "path",
    "domain",
    "secure",
    "http_only",
    "same_site",
    "private",
    "max_age",
    "max_idle",
    "max_life",
)
_ONLY = {
    **dict.fromkeys(_COOKIE, ("cookie",)),
    "name": ("cookie", "learn"),
    **dict.fromkeys(("key", "ipv4_prefix", "ipv6_prefix"), ("table",)),
    **dict.fromkeys(("size", "expire"), ("learn", "table")),
}


def affinity_checks(path: Path, backend: BackendTable, wrote: Callable[[Path, str], bool]) -> Iterator[Finding]:
    rules = backend.affinity
    if rules is None:
        return
    for key, types in _ONLY.items():
        if rules.type not in types and wrote(path, key):
            yield Finding((*path, key), f"is only for type = {listed(f'{chr(34)}{one}{chr(34)}' for one in types)}")
    if rules.type == "learn" and not wrote(path, "name"):
        yield Finding((*path, "name"), 'type = "learn" needs the name of the application\'s cookie', missing=True)
    if rules.same_site == "None" and rules.secure == "never":
        yield Finding((*path, "secure"), 'browsers refuse SameSite=None without Secure: "auto" or "always"')
    for index, text in enumerate(rules.secrets):
        yield from secret_checks((*path, "secrets", index), text)


def secret_checks(path: Path, text: str) -> Iterator[Finding]:
    """What a secret names must be there when the configuration is read."""
    if text.startswith("env:") and not os.environ.get(text[4:]):
        yield Finding(path, "this environment variable is not set")
    if text.startswith("file:") and not os.access(text[5:], os.R_OK):
        yield Finding(path, "this file cannot be read")
