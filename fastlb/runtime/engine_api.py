"""What the runtime needs of an engine. `fastlb.control.builder.Engine` is one; tests bring their own."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from fastlb.control.region import Region
from fastlb.control.slots import Assignment
from fastlb.spec import Challenges, Spec, Tls


class Engine(Protocol):
    """Accepts, balances and forwards on the loop it was made on. Not thread-safe."""

    def apply(self, spec: Spec, assignment: Assignment, indices: Mapping[int, int] | None = None) -> None:
        """Builds the snapshot of `spec` and swaps it in; raises only before the swap.

        `indices`: where sockets that are listened on stand in the `listen` of their frontends now, by number.
        """

    def listen(self, number: int, frontend: str, listen_index: int, sock: socket.socket) -> None:
        """Accepts on a copy of the socket, for the frontend's `listen[listen_index]`; `number` names it from now on."""

    def certificates(self, frontend: str, index: int, tls: Tls) -> None:
        """Handshakes of the frontend's `listen[index]` use these from now on; raises with nothing changed."""

    def tickets(self, keys: Sequence[bytes]) -> None:
        """Session tickets are made with the first key and read with any."""

    def challenge(self, challenges: Challenges) -> None:
        """ACME servers find these, and no others any more."""

    def unlisten(self, number: int, within: float) -> None:
        """Takes what the queue of the socket holds, then lets go of it.

        Its connections close after their next answer, idle ones after `within` seconds at the latest; tunnels go on.
        """

    def alone(self) -> None:
        """The loop serves this engine and little else, which may wait for some milliseconds."""

    def stop_accepting(self) -> None:
        """Takes what the queues of the listening sockets hold, then lets go of them."""

    def drain(self, patience: float = 0.0) -> None:
        """Connection: close on what is in flight; idle connections are closed, or get `patience` seconds for a last
        request, where another process takes the next."""

    def active(self) -> int:
        """Client connections open now."""

    def on_idle(self, callback: Callable[[], None]) -> None:
        """Calls back once, when `active` reaches 0 while draining (at once when it is 0)."""

    def close(self) -> None:
        """Drops everything and flushes the logs. May be repeated."""

    def connections(self, most: int) -> tuple[list[dict[str, Any]], int]:
        """Client connections, those with a request first, and how many there are."""

    def end_sessions(self, backend: str, address: str, down: bool = False) -> int:
        """Ends what is under way at a server, because it is `down` or somebody asks for it; how much that was."""

    def errors(self) -> list[dict[str, Any]]:
        """The last malformed request of each frontend and response of each backend, newest first."""

    def traffic(self) -> dict[str, list[dict[str, Any]]]:
        """What was counted of authentication and mirrors."""

    def recent_log(self) -> bytes | None:
        """The last lines of the access log, oldest first; None when it is off."""

    def watch_log(self) -> bytes | None:
        """`recent_log`, and from now on `take_log` gives further lines."""

    def take_log(self) -> tuple[bytes, int]:
        """Lines since the last call, and how many were lost; as of the last `tick`, or of a `watch_log` after it."""

    def unwatch_log(self) -> None:
        """Ends `watch_log`."""

    def take_spans(self) -> tuple[bytes, int, int]:
        """Finished requests whose traces are recorded, since the last call: records, their number, how many were lost.

        The records are those of fastlb.engine.span_buffer.
        """

    def reopen_logs(self) -> None:
        """Closes the log files and opens them again."""

    def tick(self) -> None:
        """Called every 100 ms."""


class EngineFactory(Protocol):
    """Makes the engine of one worker."""

    def __call__(
        self, region: Region, worker: int, loop: asyncio.AbstractEventLoop, *, max_connections: int = 0
    ) -> Engine: ...


def default_factory() -> EngineFactory:
    """The Cython engine. Imported late: the supervisor of worker processes never needs it."""
    factory: EngineFactory = importlib.import_module("fastlb.control.builder").Engine
    return factory
