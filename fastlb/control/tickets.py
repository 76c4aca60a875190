"""The keys of TLS session tickets, shared by all workers and replaced in turn (RFC 5077 section 4)."""

from __future__ import annotations

import os
from collections.abc import Sequence

KEY = 80  # bytes: 16 of name, 32 for HMAC-SHA256, 32 for AES-256
KEPT = 4  # the current one and those whose tickets are still taken


class TicketKeys:
    """The current key first. A ticket of an older key is taken and replaced by one of the current key."""

    def __init__(self) -> None:
        self.keys: tuple[bytes, ...] = (os.urandom(KEY),)

    def take(self, keys: Sequence[bytes]) -> None:
        """Goes on with these; with its own where there is none that fits."""
        self.keys = tuple(key for key in keys if len(key) == KEY)[:KEPT] or self.keys

    def rotate(self) -> None:
        """A new current key; the oldest one is forgotten, and with it what its tickets protected."""
        self.keys = (os.urandom(KEY), *self.keys[: KEPT - 1])
