"""Outcomes of health checks, in HAProxy's words."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Word(enum.StrEnum):
    """How a check ended. Names as in HAProxy's statistics (`check_status`)."""

    L4OK = "L4OK"  # connected
    L6OK = "L6OK"  # TLS established
    L7OK = "L7OK"  # answered as expected
    L4TOUT = "L4TOUT"  # not connected in time
    L4CON = "L4CON"  # connection refused, unreachable, reset
    L6TOUT = "L6TOUT"  # no TLS in time
    L6RSP = "L6RSP"  # TLS failed: protocol or certificate
    L7TOUT = "L7TOUT"  # connected, no answer in time
    L7RSP = "L7RSP"  # answer malformed or cut off
    L7STS = "L7STS"  # answered a status that is not expected
    PROCOK = "PROCOK"  # the command or function was content
    PROCERR = "PROCERR"  # it was not
    PROCTOUT = "PROCTOUT"  # it took too long
    SOCKERR = "SOCKERR"  # this machine could not make the connection: says nothing about the server


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's result."""

    word: Word
    info: str = ""
    code: int = 0  # HTTP status, or exit status of a command; 0 = none
    duration: float = 0.0  # seconds
    text: str = ""  # of an agent: its line

    @property
    def good(self) -> bool:
        return self.word in (Word.L4OK, Word.L6OK, Word.L7OK, Word.PROCOK)

    @property
    def conclusive(self) -> bool:
        """False when it says nothing about the server."""
        return self.word is not Word.SOCKERR

    def __str__(self) -> str:
        info = f" ({self.info})" if self.info else ""
        return f"{self.word}{info} in {self.duration * 1000:.0f} ms"
