"""Does what an operator asks of a running balancer: reload, changes of servers, the overlay.

What runs is the configuration, read from the file, with the run-time changes over it. Every action makes a new pair of
the two, has the whole run by the service, and keeps the pair only when that worked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastlb.control import counters
from fastlb.control.changes import Changes
from fastlb.control.diff import Difference, Load, diff
from fastlb.control.names import Answer as NameAnswer
from fastlb.control.overlay import write_overlay
from fastlb.control.region import DRAIN, MAINT
from fastlb.control.resolve import discover_keys, resolve, server_keys, with_known_addresses
from fastlb.control.server_state import FLAGS
from fastlb.control.sockets import ListenError
from fastlb.errors import MISSING, ConfigError, Problem
from fastlb.runtime.actions import Answer, Verdict
from fastlb.runtime.extras import Extra, ExtraPlan
from fastlb.runtime.handover import HandoverError
from fastlb.runtime.service import Crew, Service
from fastlb.spec import Address, Backend, Server, ServerChange, ServerState, Spec

log = logging.getLogger("fastlb.runtime")

MAX_WEIGHT = 65535
MAX_LIMIT = 2**31 - 1
MAX_REASON = 200
MAX_CONFIRM = 86400.0  # seconds
SHOWN = 50  # differences that the log gets


class Loaded(Protocol):
    """A configuration that was read. `spec` is None exactly when there are errors."""

    @property
    def spec(self) -> Spec | None: ...
    @property
    def errors(self) -> tuple[Problem, ...]: ...
    @property
    def warnings(self) -> tuple[Problem, ...]: ...


class Source(Protocol):
    """Where the configuration comes from."""

    @property
    def path(self) -> str:
        """The file; '' = there is none, and nothing to reload."""

    def read(self) -> Loaded:
        """Reads it again."""

    def parse(self, text: str, source: str) -> Loaded:
        """Reads another one."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A reload that waits to be confirmed, and what comes back when it is not."""

    configured: Spec
    changes: Changes
    left: Changes  # what the reload made of them
    timer: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Operator:
    """Implements `fastlb.runtime.actions.Actions` over one service and its crew."""

    def __init__(self, service: Service, crew: Crew, configured: Spec, source: Source | None = None) -> None:
        """`configured` is what the service runs, before the run-time changes in it were applied."""
        self._service = service
        self._crew = crew
        self._source = source
        self._configured = configured
        self._changes = Changes(configured.changes)
        self.extras: Sequence[Extra] = ()  # they follow the configuration
        # Has another process take over, and returns its id or raises HandoverError; None = there is no such way.
        self.hand_over: Callable[[], Awaitable[int]] | None = None
        self._pending: _Pending | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Told before each reload (None), and what came of it; for the service manager.
        self.on_reload: Callable[[Answer | None], None] = lambda answer: None

    # ---- the configuration

    async def reload(self, *, confirm: float = 0.0) -> Answer:
        if not 0 <= confirm <= MAX_CONFIRM:
            return self._wrong("confirm", confirm, f"must be from 0 to {MAX_CONFIRM:g} seconds")
        async with self._lock:
            self.on_reload(None)
            answer = self._answer(Verdict.REFUSED, "the reload failed")  # where it raises
            try:
                answer = await self._reload(confirm)
            finally:
                self.on_reload(answer)
            self._report(answer)
            return answer

    async def _reload(self, confirm: float) -> Answer:
        if self._source is None or not self._source.path:
            return self._answer(Verdict.REFUSED, "there is no configuration file to read again")
        loaded = await asyncio.to_thread(self._source.read)
        if loaded.spec is None:
            return self._answer(Verdict.WRONG, "the configuration is wrong; nothing is changed", loaded.errors)
        before, before_changes = self._configured, self._changes
        changes = before_changes.after(before, loaded.spec)
        differences = self._differences(loaded.spec, changes)
        hold = confirm > 0 or self._pending is not None
        answer = await self._run(loaded.spec, changes, hold=hold)
        if not answer.ok:
            return answer
        self._service.reloads += 1
        await self._expect(confirm, before, before_changes)
        count = len(differences)
        text = f"configuration {answer.generation} runs: {count} difference{'' if count == 1 else 's'}"
        if confirm:
            text += f"; the one before comes back in {confirm:g} s unless this is confirmed"
        return dataclasses.replace(
            answer,
            text=text,
            problems=(*loaded.warnings, *_at_next_start(before, loaded.spec), *answer.problems),
            differences=differences,
            confirm_within=confirm,
        )

    async def _expect(self, confirm: float, configured: Spec, changes: Changes) -> None:
        """Waits for a confirmation from now on, or not any more. A second reload leads back to before the first one."""
        if self._pending is not None:
            self._pending.cancel()
            configured, changes = self._pending.configured, self._pending.changes
            self._pending = None
        if confirm:
            self._pending = pending = _Pending(configured, changes, self._changes)
            revert = functools.partial(self._revert, pending)
            pending.timer = asyncio.get_running_loop().call_later(confirm, self._later, revert)
        else:
            await self._service.settle(self._crew)

    async def confirm(self) -> Answer:
        async with self._lock:
            if self._pending is None:
                return self._answer(Verdict.REFUSED, "no reload waits for a confirmation")
            await self._expect(0.0, self._configured, self._changes)
            answer = self._answer(Verdict.DONE, f"configuration {self._service.assignment.generation} stays")
            self._report(answer)
            return answer

    async def revert(self) -> Answer:
        async with self._lock:
            if self._pending is None:
                return self._answer(
                    Verdict.REFUSED, "no reload waits for a confirmation, so there is nothing to revert"
                )
            return await self._back("the reload is undone")

    async def _revert(self, pending: _Pending) -> None:
        async with self._lock:
            # While this waited its turn the reload may have been confirmed, or another one have taken its place.
            if self._pending is pending:
                await self._back("the reload was not confirmed", level="warning")

    async def _back(self, why: str, level: str = "info") -> Answer:
        """Has the configuration before the pending reload run again."""
        pending, self._pending = self._pending, None
        assert pending is not None
        pending.cancel()
        changes = pending.changes
        if self._changes != pending.left:  # those that were made in between stay: somebody meant them
            changes = self._changes.after(self._configured, pending.configured)
        answer = await self._run(pending.configured, changes)
        if answer.ok:
            answer = dataclasses.replace(
                answer, text=f"{why}: the configuration before is back, as {answer.generation}"
            )
            log.log(logging.WARNING if level == "warning" else logging.INFO, "%s", answer.text)
            self._service.events.add("process", "", answer.text, level=level)
        else:
            self._report(answer)
        await self._service.settle(self._crew)
        return answer

    async def diff(self, text: str | None = None, source: str = "") -> Answer:
        if self._source is None or (text is None and not self._source.path):
            return self._answer(Verdict.REFUSED, "there is no configuration file to compare with")
        if text is None:
            loaded = await asyncio.to_thread(self._source.read)
        else:
            loaded = await asyncio.to_thread(self._source.parse, text, source)
        if loaded.spec is None:
            return self._answer(Verdict.WRONG, "the configuration is wrong", loaded.errors)
        differences = self._differences(loaded.spec, self._changes.after(self._configured, loaded.spec))
        count = len(differences)
        return dataclasses.replace(
            self._answer(Verdict.DONE, f"{count} difference{'' if count == 1 else 's'}", loaded.warnings),
            differences=differences,
        )

    # ---- servers

    async def set_state(self, backend: str, server: str, state: ServerState, reason: str = "") -> Answer:
        return await self.change_server(backend, server, state=state, reason=reason)

    async def set_weight(self, backend: str, server: str, weight: int, reason: str = "") -> Answer:
        return await self.change_server(backend, server, weight=weight, reason=reason)

    async def set_limit(self, backend: str, server: str, max_connections: int, reason: str = "") -> Answer:
        return await self.change_server(backend, server, max_connections=max_connections, reason=reason)

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
        async with self._lock:
            found = self._find(backend, server)
            if isinstance(found, Answer):
                return found
            if wrong := _wrong_values(weight, max_connections, reason):
                return self._answer(Verdict.WRONG, str(wrong[0]), tuple(wrong))
            group, member = found
            base = self._given_server(backend, member.address) or member
            self._changes = self._changes.changed(
                backend, base, state=state, weight=weight, max_connections=max_connections, reason=reason
            )
            service, spec = self._service, self._effective(self._configured, self._changes)
            service.spec = service.discovery.overlaid(with_known_addresses(spec, service.spec), service.spec)
            index = service.assignment.server(backend, member.address)
            answer = self._answer(
                Verdict.DONE, self._write(index, group, member, state, weight, max_connections, reason)
            )
            log.info("%s", answer.text)
            return answer

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
        async with self._lock:
            group = self._group(backend)
            if group is None:
                return self._unknown(backend)
            if wrong := _wrong_values(weight, max_connections, reason, tier if backup else 0):
                return self._answer(Verdict.WRONG, str(wrong[0]), tuple(wrong))
            if any(s.address == address for s in group.servers):
                return self._answer(Verdict.REFUSED, f"backend {backend} has a server at {address} already")
            known = self._configured_server(backend, address)
            name = name or (known.name if known else str(address))
            if any(s.name == name for s in group.servers):
                return self._answer(Verdict.REFUSED, f"backend {backend} has a server called {name} already")
            added = Server(name, address, weight, backup, max_connections, state=state, tier=tier)
            if known is None:
                changes = self._changes.with_server(backend, added, reason)
            else:
                changes = self._changes.forgotten(backend, address)
                if (state, weight, max_connections) != (ServerState.READY, 1, 0):
                    changes = changes.changed(
                        backend, known, state=state, weight=weight, max_connections=max_connections, reason=reason
                    )
            return await self._replace(changes, f"server {backend}/{name} at {address} is added{_by(reason)}")

    async def remove_server(self, backend: str, server: str, reason: str = "") -> Answer:
        async with self._lock:
            found = self._find(backend, server)
            if isinstance(found, Answer):
                return found
            if wrong := _wrong_values(None, None, reason):
                return self._answer(Verdict.WRONG, str(wrong[0]), tuple(wrong))
            _, member = found
            if self._given_server(backend, member.address) is None:
                changes = self._changes.forgotten(backend, member.address)
            else:
                changes = self._changes.without_server(backend, member, reason)
            return await self._replace(changes, f"server {backend}/{member.name} is removed{_by(reason)}")

    async def end_sessions(self, backend: str, server: str, reason: str = "") -> Answer:
        async with self._lock:
            found = self._find(backend, server)
            if isinstance(found, Answer):
                return found
            if wrong := _wrong_values(None, None, reason):
                return self._answer(Verdict.WRONG, str(wrong[0]), tuple(wrong))
            count = await self._service.sessions.end(backend, found[1])
            text = f"server {backend}/{found[1].name}: {count} session{'' if count == 1 else 's'} ended{_by(reason)}"
            return self._answer(Verdict.DONE, text)

    async def forget(self, backend: str, server: str) -> Answer:
        async with self._lock:
            change = next(
                (c for c in self._changes if c.backend == backend and server in (c.name, str(c.address))), None
            )
            if change is None:
                found = self._find(backend, server)
                if isinstance(found, Answer):
                    return found
                return self._answer(Verdict.DONE, f"server {backend}/{server} is as the configuration has it")
            changes = self._changes.forgotten(backend, change.address)
            return await self._replace(changes, f"server {backend}/{change.name} is as the configuration has it")

    async def reload_certificates(self) -> Answer:
        found = await self._service.tls.reload(self._crew)
        text = f"certificates of {', '.join(found.changed) or 'no listener'} are replaced"
        if not found.problems:
            return self._answer(Verdict.DONE, text)
        return self._answer(
            Verdict.PARTLY if found.changed else Verdict.WRONG,
            f"{text}; {'; '.join(found.problems)}; there the certificates before stay in use",
        )

    async def save_overlay(self) -> Answer:
        async with self._lock:
            path = self._configured.global_.overlay
            if not path:
                text = "there is no overlay file: set overlay in [global]"
                return self._answer(Verdict.REFUSED, text)
            try:
                await asyncio.to_thread(write_overlay, path, list(self._changes))
            except OSError as error:
                return self._answer(Verdict.REFUSED, f"{path} cannot be written: {error.strerror or error}")
            count = len(self._changes)
            text = f"{count} change{'' if count == 1 else 's'} of servers written to {path}"
            answer = dataclasses.replace(self._answer(Verdict.DONE, text), changes=self.changes())
            self._report(answer)
            return answer

    def changes(self) -> tuple[ServerChange, ...]:
        return tuple(self._changes)

    def configured(self) -> Spec:
        return self._configured

    # ---- the process

    async def upgrade(self) -> Answer:
        async with self._lock:
            if self.hand_over is None:
                return self._answer(Verdict.REFUSED, "this program cannot be replaced while it runs")
            if self._pending is not None:
                return self._answer(Verdict.REFUSED, "a reload waits for its confirmation")
            try:
                pid = await self.hand_over()
            except HandoverError as error:
                answer = self._answer(Verdict.REFUSED, f"the upgrade failed and nothing is changed: {error}")
            else:
                answer = self._answer(
                    Verdict.DONE, f"process {pid} has taken over; this one finishes what is in flight"
                )
            self._report(answer)
            return answer

    def soon(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Starts an action that nobody waits for: that of a signal, say."""
        self._later(action)

    async def close(self) -> None:
        """Ends what is under way."""
        if self._pending is not None:
            self._pending.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- inside

    def _later(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        task = asyncio.get_running_loop().create_task(action())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an action of the operator failed", exc_info=error)

    async def _run(self, configured: Spec, changes: Changes, *, hold: bool = False) -> Answer:
        """Has the pair run everywhere and keeps it, or changes nothing."""
        answers: dict[str, NameAnswer] = {}
        spec, problems = await resolve(self._effective(configured, changes), answers=answers)
        spec = with_known_addresses(spec, self._service.spec)
        plans: list[ExtraPlan] = []
        refused = [""]
        try:
            for extra in self.extras:
                plans.append(await extra.plan(spec))
            refused = await self._service.apply(spec, self._crew, hold=hold, answers=answers)
        except (ConfigError, ListenError) as error:
            text = "the configuration cannot be used; nothing is changed"
            return self._answer(Verdict.WRONG, text, tuple(error.problems))
        finally:
            for plan in plans:
                if refused:
                    plan.abort()
                else:
                    plan.commit()
        if refused:
            text = "the workers refused the configuration and run the one before"
            return dataclasses.replace(self._answer(Verdict.REFUSED, text), workers=tuple(refused))
        self._configured, self._changes = configured, changes
        found = {key for key, server in server_keys(spec) if server.resolved}
        found |= {key for key, discover in discover_keys(spec) if self._service.discovery.found(discover)}
        kept = "the name cannot be resolved now; it stands for what it stood for"
        warnings = tuple(
            dataclasses.replace(p, severity="warning", reason=kept if p.key in found else p.reason) for p in problems
        )
        return self._answer(Verdict.DONE, "", warnings)

    async def _replace(self, changes: Changes, text: str) -> Answer:
        answer = await self._run(self._configured, changes)
        if answer.ok:
            answer = dataclasses.replace(answer, text=text)
        self._report(answer)
        return answer

    def _write(
        self,
        index: int,
        group: Backend,
        member: Server,
        state: ServerState | None,
        weight: int | None,
        max_connections: int | None,
        reason: str,
    ) -> str:
        """Writes a server's values where the workers see them: they need no new configuration. What to tell people."""
        service, region = self._service, self._service.region
        name = f"{group.name}/{member.name}"
        told = []
        if weight is not None and weight != region.weight(index):
            told.append(f"weight {region.weight(index)} is now {weight}")
            region.set_weight(index, weight)
        if max_connections is not None:
            limit = max_connections or group.max_connections
            if limit != region.limit(index):
                told.append(f"max_connections {region.limit(index)} is now {limit}")
                region.set_limit(index, limit)
        for text in told:
            service.events.add("server", name, f"{text}{_by(reason)}")
        if state is not None:
            if region.state(index) & MAINT and state is not ServerState.MAINT:
                service.ramps.start(index, group.slow_start)
            region.change_state(index, set=FLAGS[state], clear=(DRAIN | MAINT) & ~FLAGS[state])
            service.book.note(group.name, member, f"set to {state} by the operator{_by(reason)}", level="info")
            told.append(f"set to {state}")
        return f"server {name}: {', '.join(told) or 'nothing changed'}{_by(reason)}"

    def _differences(self, configured: Spec, changes: Changes) -> tuple[Difference, ...]:
        return diff(self._changes.over(self._configured), changes.over(configured), self._load())

    def _load(self) -> Load:
        service = self._service
        region, assignment = service.region, service.assignment
        frontends = {}
        for name, index in assignment.frontends.items():
            totals = region.frontend_totals(index)
            frontends[name] = (totals[counters.OPEN], totals[counters.CURRENT])
        servers = {}
        for identity, index in assignment.servers.items():
            idle, busy = region.server_totals(index)[counters.IDLE], region.inflight(index)
            servers[identity] = (idle + busy, busy)
        return Load(frontends, servers)

    def _group(self, backend: str) -> Backend | None:
        return next((b for b in self._service.spec.backends if b.name == backend), None)

    def _find(self, backend: str, server: str) -> tuple[Backend, Server] | Answer:
        group = self._group(backend)
        if group is None:
            return self._unknown(backend)
        for member in group.servers:
            if server in (member.name, str(member.address)):
                return group, member
        names = ", ".join(member.name for member in group.servers[:8])
        more = f" and {len(group.servers) - 8} more" if len(group.servers) > 8 else ""
        return self._answer(Verdict.UNKNOWN, f"backend {backend} has no server {server}; it has {names}{more}")

    def _unknown(self, backend: str) -> Answer:
        names = ", ".join(b.name for b in self._service.spec.backends[:8])
        return self._answer(Verdict.UNKNOWN, f"there is no backend {backend}; there are {names}")

    def _configured_server(self, backend: str, address: Address) -> Server | None:
        group = next((b for b in self._configured.backends if b.name == backend), None)
        return next((s for s in group.servers if s.address == address), None) if group else None

    def _given_server(self, backend: str, address: Address) -> Server | None:
        """What there would be at the address without run-time changes, in the configuration or discovered."""
        return self._configured_server(backend, address) or self._service.discovery.base(backend, address)

    @staticmethod
    def _effective(configured: Spec, changes: Changes) -> Spec:
        """What is to run; the changes stand in it for servers that are discovered later."""
        return dataclasses.replace(changes.over(configured), changes=tuple(changes))

    def _answer(self, verdict: Verdict, text: str, problems: Sequence[Problem] = ()) -> Answer:
        return Answer(verdict, text, tuple(problems), self._service.assignment.generation)

    def _wrong(self, key: str, value: object, reason: str) -> Answer:
        problem = Problem(key, value, reason)
        return self._answer(Verdict.WRONG, str(problem), (problem,))

    def _report(self, answer: Answer) -> None:
        """Tells the log and the ring of events."""
        for problem in answer.problems:
            if problem.severity == "warning":
                log.warning("%s", problem)
            else:
                log.error("%s", problem)
        for line in answer.workers:
            log.error("%s", line)
        for difference in answer.differences[:SHOWN]:
            log.info("%s", difference)
        if len(answer.differences) > SHOWN:
            log.info("and %d more", len(answer.differences) - SHOWN)
        if answer.ok:
            log.info("%s", answer.text)
        else:
            log.error("%s", answer.text)
        self._service.events.add("process", "", answer.text, level="info" if answer.ok else "error")


def _at_next_start(before: Spec, now: Spec) -> list[Problem]:
    """Warnings for what a reload leaves as it is."""
    problems = []
    old, new = before.global_, now.global_
    for name in ("workers", "max_connections", "pid_file", "user", "group"):
        value = getattr(new, name)
        if name == "workers" and old.workers and new.workers:
            continue
        if getattr(old, name) != value:
            why = "takes effect at the next start"
            problems.append(Problem(f"global.{name}", value, why, file=now.source, severity="warning"))
    return problems


def _wrong_values(weight: int | None, max_connections: int | None, reason: str, backup_tier: int = 0) -> list[Problem]:
    problems = []
    if weight is not None and not 0 <= weight <= MAX_WEIGHT:
        problems.append(Problem("weight", weight, f"must be from 0 to {MAX_WEIGHT}"))
    if max_connections is not None and not 0 <= max_connections <= MAX_LIMIT:
        problems.append(Problem("max_connections", max_connections, f"must be from 0 to {MAX_LIMIT}"))
    if backup_tier:
        problems.append(Problem("tier", backup_tier, "a backup stands in no tier", "0"))
    if len(reason) > MAX_REASON or not reason.isprintable():
        problems.append(Problem("reason", MISSING, f"must be one line of at most {MAX_REASON} characters"))
    return problems


def _by(reason: str) -> str:
    return f": {reason}" if reason else ""
