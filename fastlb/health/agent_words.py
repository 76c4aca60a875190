"""What an agent on a server may say of it: HAProxy's agent-check protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"(?P<percent>\d{1,9})%|weight:(?P<weight>\d{1,9})(?P<of>%?)|maxconn:(?P<limit>\d{1,9})", re.ASCII)

DOWN = ("down", "fail", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Advice:
    """One line of an agent; None = it says nothing about it, and nothing changes."""

    up: bool | None = None
    state: str | None = None  # ready | drain | maint
    percent: int | None = None  # of the configured weight
    weight: int | None = None
    limit: int | None = None  # of requests at a time
    reason: str = ""  # what stands behind '#'
    word: str = ""  # that `up` comes from
    unknown: str = ""  # the first word that is none


def read_advice(line: str) -> Advice:
    """Words in any order, separated by blanks, tabs or commas; a '#' begins the reason. Later ones win."""
    said, _, reason = line.partition("#")
    up: bool | None = None
    state: str | None = None
    percent: int | None = None
    weight: int | None = None
    limit: int | None = None
    source = unknown = ""
    for word in re.split(r"[ \t,]+", said.strip()):
        name = word.lower()
        if name == "up" or name in DOWN:
            up, source = name == "up", name
        elif name in ("ready", "drain", "maint"):
            state = name
        elif match := _WORD.fullmatch(name):
            if match["limit"] is not None:
                limit = int(match["limit"])
            elif match["percent"] is not None:
                percent, weight = int(match["percent"]), None
            elif match["of"]:
                percent, weight = int(match["weight"]), None
            else:
                percent, weight = None, int(match["weight"])
        elif word:
            unknown = unknown or word
    return Advice(up, state, percent, weight, limit, reason.strip(), source, unknown)
