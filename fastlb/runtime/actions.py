"""What an operator can have a running balancer do. `Operator` (fastlb.runtime.operator) does it; the admin API asks.

Every action answers with an `Answer` and raises nothing: what was wrong is in it, and then nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fastlb.control.diff import Difference
from fastlb.errors import Problem
from fastlb.spec import Address, ServerChange, ServerState, Spec


class Verdict(StrEnum):
    """What became of an action."""

    DONE = "done"
    PARTLY = "partly"  # done, but some worker kept the configuration before: see `workers`
    WRONG = "wrong"  # the configuration or an argument is; see `problems`
    UNKNOWN = "unknown"  # there is no such backend or server
    REFUSED = "refused"  # not possible as things stand; `text` says why


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an action. Nothing has changed unless `ok`."""

    verdict: Verdict
    text: str  # one line for people
    problems: tuple[Problem, ...] = ()  # errors, then warnings
    generation: int = 0  # of the configuration that runs now
    differences: tuple[Difference, ...] = ()  # of reload and diff
    workers: tuple[str, ...] = ()  # a line for each worker that kept the configuration before
    confirm_within: float = 0.0  # seconds until the reload reverts by itself; 0 = it does not
    changes: tuple[ServerChange, ...] = field(default=())  # of save_overlay and changes: what there is

    @property
    def ok(self) -> bool:
        return self.verdict in (Verdict.DONE, Verdict.PARTLY)


class Actions(Protocol):
    """All coroutines; they run one after the other in the order they were called."""

    async def reload(self, *, confirm: float = 0.0) -> Answer:
        """Reads the configuration again and has it run everywhere.

        `confirm`: seconds after which the one before comes back unless `confirm` is called; 0 = it stays.
        """

    async def confirm(self) -> Answer:
        """Keeps the configuration of the last `reload(confirm=...)`. REFUSED when none waits for it."""

    async def revert(self) -> Answer:
        """Undoes the last `reload(confirm=...)` at once. REFUSED when none waits to be confirmed."""

    async def diff(self, text: str | None = None, source: str = "") -> Answer:
        """What a reload would change; nothing is changed.

        `text` is the configuration (TOML), `source` names it in messages; None = the file that runs, as it is now.
        """

    async def set_state(self, backend: str, server: str, state: ServerState, reason: str = "") -> Answer:
        """ready, drain or maint. `server` is the name or the address, here as below."""

    async def set_weight(self, backend: str, server: str, weight: int, reason: str = "") -> Answer:
        """0-65535; 0 = no requests."""

    async def set_limit(self, backend: str, server: str, max_connections: int, reason: str = "") -> Answer:
        """Requests at once over all workers, 0 = unlimited."""

    async def change_server(
        self,
        backend: str,
        server: str,
        *,
        state: ServerState | None = None,
        weight: int | None = None,
        max_connections: int | None = None,
        reason: str = "",
    ) -> Answer:
        """Several of the above at once; None = as it is."""

    async def add_server(
        self,
        backend: str,
        address: Address,
        *,
        name: str = "",
        weight: int = 1,
        backup: bool = False,
        tier: int = 0,
        max_connections: int = 0,
        state: ServerState = ServerState.READY,
        reason: str = "",
    ) -> Answer:
        """A server more. It lives through reloads, and a restart when `save_overlay` is called.

        One of the configuration that was removed at run time comes back.
        """

    async def remove_server(self, backend: str, server: str, reason: str = "") -> Answer:
        """A server less; what is in flight on it ends as it began."""

    async def end_sessions(self, backend: str, server: str, reason: str = "") -> Answer:
        """Ends what is under way at the server now; whether it gets more is not changed by it."""

    async def forget(self, backend: str, server: str) -> Answer:
        """The server as the configuration has it: undoes all of the above."""

    async def reload_certificates(self) -> Answer:
        """Reads the files of all certificates again; nothing else is touched. PARTLY when some cannot be used."""

    async def save_overlay(self) -> Answer:
        """Writes all run-time changes to the overlay file ([global] overlay), which the next start reads."""

    async def upgrade(self) -> Answer:
        """Starts the program anew and hands everything over to it, without closing a socket; then this one drains.

        REFUSED, with nothing changed, when the new one does not become ready.
        """

    def changes(self) -> tuple[ServerChange, ...]:
        """The run-time changes in force."""

    def configured(self) -> Spec:
        """The configuration without the run-time changes."""
