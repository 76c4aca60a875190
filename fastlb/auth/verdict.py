"""What verifying credentials comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` 0 lets the request through: its server gets `lines`, the log `user`, and the same credentials need not
    be verified again for `seconds`. Any other status is answered, with `challenge` as WWW-Authenticate."""

    status: int = 0
    lines: tuple[tuple[bytes, bytes], ...] = ()
    user: bytes = b""
    seconds: float = 0.0
    challenge: bytes = b""
    reason: bytes = b""  # for the log and the page; one of a few fixed texts
    retry_after: int = 0
    wrong: bool = False  # it may be a guess, and counts against the address


Told = Callable[[Verdict], None]


class Attempts(Protocol):
    """Failures by address; see fastlb.engine.failures."""

    def closed(self, address: bytes) -> float:
        """Seconds for which the address may not try; 0 = it may."""

    def failed(self, address: bytes) -> None:
        """Counts a failure."""


class Checker(Protocol):
    """Verifies credentials; called on the loop."""

    def begin(self, credentials: bytes, address: bytes, told: Told) -> bool:
        """Has `told` called on the loop, later; False when too much waits already.

        `address`: what of the client's address counts as one client, b"" of a Unix socket's.
        """

    def close(self) -> None:
        """What has begun is finished, nothing begins any more."""
