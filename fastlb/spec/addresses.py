"""Where things are, and the words for what a frontend speaks and a server may be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """What a frontend or backend speaks (HAProxy's `mode`)."""

    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"


class ServerState(StrEnum):
    """Administrative state of a server. What is in flight on it always ends in peace."""

    READY = "ready"
    DRAIN = "drain"  # no new requests
    MAINT = "maint"  # likewise; shown as maintenance


@dataclass(frozen=True, slots=True)
class Address:
    """A socket address: `host` and `port`, or `path` for a Unix socket.

    `host` is a literal address or a name; '' as a listener means every address of both families.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Reachable from this machine alone, as far as the text tells."""
        if self.path or self.host in ("localhost", "::1"):
            return True
        return self.host.startswith("127.") and self.host.replace(".", "").isdecimal()

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"
