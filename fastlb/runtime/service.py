"""What a running balancer consists of beside its engines: region, indices, sockets, addresses, health checks.

One of these lives in the supervisor, and one in an application that embeds fastlb. Where the engines run (a process
each, or one in this loop) is the crew's affair.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fastlb.control import counters
from fastlb.control.events import Events
from fastlb.control.names import Answer
from fastlb.control.past import Past
from fastlb.control.region import DRAIN, GAUGE_COUNTERS, LIMITS, UP, Region
from fastlb.control.resolve import resolve, with_addresses
from fastlb.control.server_state import publish, retire
from fastlb.control.slots import Assignment, ServerId, Slots
from fastlb.control.sockets import ListenError, Listeners
from fastlb.control.state_book import StateBook
from fastlb.control.tcp_options import check_servers
from fastlb.discovery.members import Discovery, Plan, Turn
from fastlb.errors import ConfigError, FastlbError, Problem
from fastlb.health.adaptive import Adaptive
from fastlb.health.breakers import Breakers
from fastlb.health.monitor import Monitor
from fastlb.health.outlier import Detector
from fastlb.health.ramp import Ramps
from fastlb.runtime import limits
from fastlb.runtime.drain import drain_time
from fastlb.runtime.info import RuntimeInfo
from fastlb.runtime.messages import EndSessions, Secrets
from fastlb.runtime.names import Names
from fastlb.runtime.overload_watch import OverloadWatch
from fastlb.runtime.rate_sync import RateSync
from fastlb.runtime.sessions import SessionEnder
from fastlb.runtime.spans import Spans
from fastlb.runtime.tls_keeper import TlsKeeper, with_certificates
from fastlb.runtime.webhook import Receiver, Webhook
from fastlb.spec import ServerState, Spec

log = logging.getLogger("fastlb.runtime")

LINGER = 70.0  # seconds: the kernel repeats the last SYN-ACK after 31 and gives up on a client after 63
SLOTS = 16  # workers that a reload can ask for at least


class StartError(FastlbError):
    """The engines could not be started; the text says why."""


class Crew(Protocol):
    """The engines of a service."""

    async def apply(self, spec: Spec, assignment: Assignment) -> list[str]:
        """Has every engine run `spec` and accept on the sockets that are new; a line for each that stayed as it was."""

    async def unlisten(self, numbers: Sequence[int], within: float) -> None:
        """Has the engines serve the queues of these sockets and let go of them."""

    async def grow(self, count: int) -> list[str]:
        """Has at least `count` engines run what runs; a line for each that cannot."""

    async def secrets(self, message: Secrets) -> None:
        """Returns when every engine has these certificates and ticket keys."""

    async def ask(self, what: str | EndSessions) -> dict[int, Any]:
        """The answers of all engines, see `EngineHost.answer`; None where there was none."""

    def shrink(self, count: int, within: float) -> None:
        """Has the engines beyond the first `count` finish what is in flight, and leave."""


class Service:
    """The state of one balancer. `open` first, `close` last; `apply` in between replaces the configuration.

    Raises ConfigError when there are more workers than the region has lines for.
    """

    def __init__(self, spec: Spec, *, workers: int, own_process: bool = True, secret: bytes = b"") -> None:
        if workers > LIMITS["slots"]:
            problem = Problem("global.workers", workers, f"at most {LIMITS['slots']}", file=spec.source)
            raise ConfigError([problem])
        self.workers = workers  # processes wanted; 0 = the engine runs in this one
        self.spec = spec
        self.assignment = Assignment()
        self.listeners = Listeners(max(workers, 1), reuse_port=workers > 0)
        self._slots = Slots()
        # More slots than workers, so that a later configuration can ask for more. Those unused take no memory.
        slots = min(max(SLOTS, 2 * workers), LIMITS["slots"]) if workers else 1
        self.region = Region.create(workers > 0, slots, secret)
        self.past = Past()
        self.events = Events()
        self.webhook = Webhook(self.events)
        self.spans = Spans(self.events)
        self.book = StateBook(self.region, self.events)
        self.sessions = SessionEnder(self)
        self.ramps = ramps = Ramps(self.region)
        self.outliers = Detector(self.region, ramps, on_turn=self.book.note)
        self.monitor = Monitor(self.region, ramps=ramps, on_check=self.outliers.checked, on_turn=self.book.note)
        self.adaptive = Adaptive(self.region)
        self.rates = RateSync(self.region, self.events)
        self.overload = OverloadWatch(self.region, self.events, slots)
        self.breakers = Breakers(self.region, self.events, on_turn=self.book.note)
        self._own_process = own_process  # false: the limits of the process are its owner's affair
        self.lock = asyncio.Lock()  # held while the spec is being replaced
        self.tls = TlsKeeper(self)
        self.linger = LINGER  # seconds that sockets of workers that left are served
        self._trimming: asyncio.Task[None] | None = None
        self._names: asyncio.Task[None] | None = None
        self.discovery = Discovery(self._busy)
        self._heard: dict[str, Answer] = {}  # to the look-ups of the start
        self._over_cap: set[str] = set()  # names that the log has warned of
        self._watch_names: Names | None = None
        self._held = False  # what left the configuration stays in service
        self._leaving_within = 0.0  # seconds that idle connections of sockets that leave may have
        self._retired: set[int] = set()  # servers out of service whose index is still theirs
        self.descriptors = 0
        self.max_connections = 0
        self.reloads = 0  # asked for and done; counted by who reloads

    async def open(self) -> None:
        """Binds, looks up names, fills the region. Raises ListenError or ConfigError; nothing is then left open."""
        exporter = await asyncio.to_thread(self.spans.plan, self.spec)
        self.descriptors = limits.descriptor_limit(may_raise=self._own_process)
        check_servers(self.spec)
        self.listeners.open(self.spec)
        try:
            allowed = limits.connections(self.descriptors, self.listeners.count())
            wanted = self.spec.global_.max_connections
            if wanted > allowed:
                log.warning(
                    "max_connections %d needs more than the limit of %d open files; %d are allowed",
                    wanted, self.descriptors, allowed,
                )  # fmt: skip
            self.max_connections = min(wanted or allowed, allowed)
            self.spec = await asyncio.to_thread(with_certificates, self.spec, self.spec, self.events)
            self.spec, problems = await resolve(self.spec, answers=self._heard)
            for problem in problems:
                log.warning("%s", problem)
            self.discovery.note(self._heard)
            self._warn_of_caps(self.spec)
            plan = self.discovery.plan(self.spec, self.spec)
            self.discovery.commit(plan)
            self.spec = plan.spec
            self.assignment = self._slots.assign(self.spec)
            publish(self.region, self.spec, self.assignment, self._slots.fresh())
            self.book.apply(self.spec, self.assignment)
            self.spans.apply(self.spec, exporter)
        except BaseException:
            self.listeners.close()
            raise

    def health(self) -> dict[ServerId, bool]:
        """What checks found of the servers that have any."""
        return {
            (b.name, s.address): bool(self.region.state(self.assignment.server(b.name, s.address)) & UP)
            for b in self.spec.backends
            for s in b.servers
            if b.health_check is not None
        }

    def take_health(self, found: Mapping[ServerId, bool]) -> None:
        """Begins with what another process found; of servers that are checked here too."""
        for backend in self.spec.backends:
            for server in backend.servers:
                up = found.get((backend.name, server.address))
                if up is not None and backend.health_check is not None and server.resolved:
                    index = self.assignment.server(backend.name, server.address)
                    self.region.change_state(index, set=UP if up else 0, clear=0 if up else UP)

    def watch(self, crew: Crew) -> None:
        """Starts the health checks, active and passive, and the search for names that were not found."""
        self.webhook.point(_receiver(self.spec))
        self.sessions.start(crew)
        self.monitor.apply(self.spec, self.assignment)
        self.outliers.start()
        self.outliers.apply(self.spec, self.assignment)
        self.breakers.start()
        self.breakers.apply(self.spec, self.assignment)
        self.adaptive.start()
        self.adaptive.apply(self.spec, self.assignment)
        self.rates.apply(self.spec)
        self.overload.start()
        self.tls.start(crew)
        self._run_dry(crew)  # the process before may have had more workers

        async def readdress(found: Mapping[str, Answer]) -> None:
            await self.readdress(found, crew)

        self._watch_names = Names(lambda: self.spec, readdress, self._heard, lambda: self.discovery.leaving)
        self._names = asyncio.get_running_loop().create_task(self._watch_names.run())

    async def apply(
        self, spec: Spec, crew: Crew, *, hold: bool = False, answers: Mapping[str, Answer] | None = None
    ) -> list[str]:
        """Replaces the configuration by `spec` (its addresses resolved) everywhere, or nowhere.

        The servers that its `discover` tables stand for are added, as the `answers` tell and those before them.

        Returns a line for each worker that refused it; then all of them have the one before again. Raises ListenError
        or ConfigError, with nothing changed, when an address cannot be bound or `spec` does not fit the region. `hold`:
        what left the configuration stays in service until `settle`, so that the way back costs nobody anything.
        """
        async with self.lock:
            self.discovery.note(answers or {})
            self._warn_of_caps(spec)
            return await self._discovered(self.discovery.plan(spec, self.spec), crew, hold=hold)

    async def readdress(self, found: Mapping[str, Answer], crew: Crew) -> None:
        """Has the servers whose names stand for other addresses now use these, everywhere."""
        async with self.lock:
            self.discovery.note({name: answer for name, answer in found.items() if name in self._asked()})
            self._warn_of_caps(self.spec)
            spec, moves = with_addresses(self.spec, found)
            plan = self.discovery.plan(spec, self.spec)
            if not moves and not plan.changed:
                return
            try:
                errors = await self._discovered(plan, crew)
            except (ConfigError, ListenError) as error:
                errors = [str(problem) for problem in error.problems]
            for line in errors:
                log.error("%s", line)
            for move in () if errors else moves:
                was = f", no longer {move.before}" if move.before else ""
                text = f"{move.server.address.host} is {move.after}{was}"
                log.info("server %s/%s: %s", move.backend, move.server.name, text)
                self.events.add("server", f"{move.backend}/{move.server.name}", text)

    def _warn_of_caps(self, spec: Spec) -> None:
        """Says once of each name that it stands for more servers than are used, until it no longer does."""
        over = {
            f"backends.{backend.name}.discover: {discover}": (self.discovery.found(discover), discover.max_servers)
            for backend in spec.backends
            for discover in backend.discover
            if self.discovery.found(discover) > discover.max_servers
        }
        for name in over.keys() - self._over_cap:
            log.warning("%s stands for %d servers; max_servers of them are used, %d", name, *over[name])
        self._over_cap = set(over)

    def _asked(self) -> set[str]:
        return {discover.question for backend in self.spec.backends for discover in backend.discover}

    async def _discovered(self, plan: Plan, crew: Crew, *, hold: bool = False) -> list[str]:
        """Has the configuration of a plan run, and tells who came and went."""
        for turn in plan.turns:
            if turn.what in ("leaves", "is back"):
                self._drain(turn)
        errors = await self._apply(plan.spec, crew, hold=hold)
        if errors:
            return errors
        self.discovery.commit(plan)
        for turn in plan.turns:
            name, text = f"{turn.backend}/{turn.server.name}", f"{turn.what} ({turn.server.source})"
            log.info("server %s %s", name, text)
            self.events.add("server", name, text)
        return []

    def _drain(self, turn: Turn) -> None:
        """Gives the change of state its reason, which the book would not know from the configuration."""
        index = self.assignment.servers.get((turn.backend, turn.server.address))
        if index is None or turn.server.state is not ServerState.READY:
            return
        leaves = turn.what == "leaves"
        self.region.change_state(index, set=DRAIN if leaves else 0, clear=0 if leaves else DRAIN)
        reason = f"{turn.server.source} {'no longer stands' if leaves else 'stands'} for it"
        self.book.note(turn.backend, turn.server, reason, level="info")

    def _busy(self, server: ServerId) -> bool:
        """Something is in flight on a server that runs."""
        index = self.assignment.servers.get(server)
        if index is None:
            return False
        return self.region.inflight(index) > 0 or self.region.server_totals(index)[counters.CURRENT] > 0

    async def _apply(self, spec: Spec, crew: Crew, *, hold: bool = False) -> list[str]:
        before, held = self.spec, self._held
        check_servers(spec)
        spec = await asyncio.to_thread(with_certificates, spec, before, self.events)
        exporter = await asyncio.to_thread(self.spans.plan, spec)
        workers = self._wanted(spec)
        # Those that join run what runs before anything changes, so that their part of the queues never waits.
        errors = await crew.grow(workers)
        try:
            if not errors:
                errors = await self._switch(spec, workers, crew)
                if errors:
                    for line in await self._switch(before, self._wanted(before), crew):
                        log.error("cannot go back: %s", line)
                else:
                    self.spans.apply(spec, exporter)
            self._held = held or (hold and not errors)
        finally:
            if not self._held:
                await self._settle(crew)
        if self._watch_names is not None:
            self._watch_names.changed()
        self.tls.acme.changed()
        return errors

    def _wanted(self, spec: Spec) -> int:
        """Workers that `spec` asks for; those there are where one of the two is the engine in this process."""
        wanted = spec.global_.workers
        if not wanted or not self.workers:
            return self.workers
        if wanted > self.region.slots:
            why = f"at most {self.region.slots} until the next start"
            raise ConfigError([Problem("global.workers", wanted, why, file=spec.source)])
        return wanted

    async def settle(self, crew: Crew) -> None:
        """Lets go of what `apply(hold=True)` kept."""
        async with self.lock:
            self._held = False
            await self._settle(crew)

    async def _switch(self, spec: Spec, workers: int, crew: Crew) -> list[str]:
        self.listeners.share(workers)
        try:
            plan = await asyncio.to_thread(self.listeners.plan, spec)
            try:
                assignment = self._slots.assign(spec)
            except BaseException:
                plan.abort()
                raise
        except BaseException:
            self.listeners.share(self.workers)
            raise
        self.workers = workers
        self._leaving_within = max(self._leaving_within, drain_time(self.spec))
        fresh = self._slots.fresh()
        joined = publish(self.region, spec, assignment, fresh, before=self.spec, retired=self._retired)
        for index, window in joined:
            self.ramps.start(index, window)
        self.past.forget(assignment, fresh)
        self._retired.difference_update(assignment.servers.values())
        self.listeners.adopt(plan)
        self.spec, self.assignment = spec, assignment
        self.webhook.point(_receiver(spec))
        self.book.apply(spec, assignment)
        self.book.sweep()
        errors = await crew.apply(spec, assignment)
        self.monitor.apply(spec, assignment)
        self.outliers.apply(spec, assignment)
        self.breakers.apply(spec, assignment)
        self.adaptive.apply(spec, assignment)
        self.rates.apply(spec)
        for index, window in joined:  # what begins to be checked in another way had its slow start cut off
            self.ramps.start(index, window)
        return errors

    async def _settle(self, crew: Crew) -> None:
        numbers = self.listeners.leaving()
        if numbers:
            # Ours first, so that a worker's own close is the last: what still waits in a queue is served.
            self.listeners.release()
            await crew.unlisten(numbers, self._leaving_within)
        if self.workers:
            crew.shrink(self.workers, max(self._leaving_within, drain_time(self.spec)))
        self._leaving_within = 0.0
        self._run_dry(crew)
        retire(self.region, self._slots.retired_servers())
        self._reclaim()
        self._retired = set(self._slots.retired_servers())

    def _run_dry(self, crew: Crew) -> None:
        """Has sockets that no worker has for its own get no new connections, and closes them later."""
        self.listeners.narrow()
        if self._trimming is not None:
            self._trimming.cancel()
            self._trimming = None
        if self.listeners.surplus():
            self._trimming = asyncio.get_running_loop().create_task(self._trim(crew))

    async def _trim(self, crew: Crew) -> None:
        """Closes the sockets of workers that left, once nobody can be on the way to them."""
        await asyncio.sleep(self.linger)
        async with self.lock:
            if self._held or not self.listeners.surplus():  # what is held settles later, and then it begins again
                return
            self._trimming = None  # from here on it is not cut off
            self.listeners.trim()
            numbers = self.listeners.leaving()
            self.listeners.release()
            await crew.unlisten(numbers, drain_time(self.spec))

    def _reclaim(self) -> None:
        """Gives indices free that no worker's configuration has and no connection or request is counted on."""

        def busy(totals: list[int]) -> bool:
            return any(totals[gauge] for gauge in GAUGE_COUNTERS)

        region = self.region
        self._slots.reclaim(
            self.assignment.generation,
            frontend_busy=lambda index: busy(region.frontend_totals(index)),
            backend_busy=lambda index: busy(region.group_totals(index)),
            server_busy=lambda index: region.inflight(index) > 0 or busy(region.server_totals(index)),
        )

    async def stop_watching(self) -> None:
        """Ends the health checks and the search for names."""
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.gather(self._trimming, return_exceptions=True)
            self._trimming = None
        if self._names is not None:
            self._names.cancel()
            await asyncio.gather(self._names, return_exceptions=True)
            self._names = None
        await self.tls.stop()
        await self.sessions.stop()
        self.outliers.close()
        self.breakers.close()
        self.adaptive.close()
        self.rates.close()
        self.overload.close()
        await self.monitor.close()
        self.ramps.close()

    async def close(self) -> None:
        """Ends everything this service started."""
        await self.stop_watching()
        await self.webhook.close()
        await self.spans.close()
        self.listeners.close()

    def info(self, pid: int) -> RuntimeInfo:
        """Facts for the banner."""
        loop = asyncio.get_running_loop()
        return RuntimeInfo(
            pid=pid,
            workers=self.workers,
            loop="uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio",
            descriptors=self.descriptors,
            max_connections=self.max_connections,
            addresses=self.listeners.addresses(),
        )


def _receiver(spec: Spec) -> Receiver | None:
    return Receiver(spec.admin.webhook, spec.admin.webhook_level) if spec.admin.webhook else None
