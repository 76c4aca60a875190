"""Keeps the TLS of a running service: certificates that change on disk, ticket keys, and how long certificates last.

The supervisor reads the files and hands their contents to the workers. A file that cannot be used is reported and
changes nothing; the workers go on with the one before, and a worker that is replaced gets that one too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastlb.control.certificate import Leaf, leaf_of
from fastlb.control.events import Events
from fastlb.control.self_signed import STAND_IN
from fastlb.control.tickets import TicketKeys
from fastlb.control.tls import loaded, tls_listeners, watched
from fastlb.control.tls_client import loaded_client
from fastlb.engine.libssl import problem as libssl_problem
from fastlb.errors import ConfigError, Problem
from fastlb.runtime.acme_keeper import AcmeKeeper
from fastlb.runtime.messages import Secrets
from fastlb.runtime.watch import marks_of, watch
from fastlb.spec import Spec, Tls

if TYPE_CHECKING:
    from fastlb.runtime.service import Crew, Service

log = logging.getLogger("fastlb.runtime")

DAY = 86400.0
WARN_DAYS = (30, 14, 7, 3, 1, 0)  # before the end of a certificate
LOOK = 3600.0  # seconds between two looks at how long certificates last


@dataclass(frozen=True, slots=True)
class Served:
    """One certificate of one listener."""

    frontend: str
    address: str
    leaf: Leaf
    acme_cert: str = ""  # the file that it is kept in when it comes by ACME


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a look at the files led to."""

    changed: tuple[str, ...]  # listeners, as in 'web on :443', whose handshakes use something else now
    problems: tuple[str, ...]  # what cannot be used; there all is as it was


class TlsKeeper:
    """Of one service. `start` when the crew runs, `stop` before it ends."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._keys = TicketKeys()
        self._made_at = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._told: dict[tuple[str, str], int] = {}  # (frontend, serial) -> days of the last warning
        self._reported: set[str] = set()  # problems of the files as they are now
        self.replaced_at = 0.0  # time.time() of the last replacement
        self.acme = AcmeKeeper(service)

    def take_tickets(self, keys: Sequence[bytes], age: float) -> None:
        """Begins with the keys of another process, the current one made `age` seconds ago."""
        self._keys.take(keys)
        self._made_at = time.monotonic() - age

    @property
    def tickets_age(self) -> float:
        """Seconds since the current key was made."""
        return time.monotonic() - self._made_at

    @property
    def tickets(self) -> tuple[bytes, ...]:
        """Keys of session tickets, the current one first."""
        return self._keys.keys

    def served(self) -> list[Served]:
        """The certificates in use, in the order of the configuration."""
        return [
            Served(
                f.name,
                str(listen.address),
                leaf_of(pem),
                tls.acme_cert if pem.name in (tls.acme_cert, STAND_IN) else "",
            )
            for f, _, listen, tls in tls_listeners(self._service.spec)
            for pem in tls.pems
        ]

    def start(self, crew: Crew) -> None:
        """Begins to watch."""
        loop = asyncio.get_running_loop()
        if self.served() and (why := libssl_problem()):
            log.warning("TLS runs without libssl's own calls (%s): each worker has session tickets of its own", why)
        known = marks_of(self._files())
        self._tasks = [
            loop.create_task(watch(self._files, lambda: self._soon(crew), known)),
            loop.create_task(self._rotate(crew)),
            loop.create_task(self._look_at_ends()),
        ]
        self.acme.start(crew)

    async def stop(self) -> None:
        """Ends what `start` began."""
        await self.acme.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def reload(self, crew: Crew) -> Replaced:
        """Reads the files again and has the workers use what changed; nothing else is touched.

        Certificates that ACME did not get are tried for again, soon after.
        """
        self.acme.nudge()
        return await self.read_again(crew)

    async def read_again(self, crew: Crew) -> Replaced:
        """`reload` alone."""
        async with self._service.lock:
            return await self._reload(crew)

    async def _reload(self, crew: Crew) -> Replaced:
        service = self._service
        found: dict[tuple[str, int], Tls] = {}
        changed, problems = [], []
        for f, index, listen, tls in tls_listeners(service.spec):
            name = f"{f.name} on {listen.address}"
            try:
                now = await asyncio.to_thread(loaded, tls)
            except ConfigError as error:
                problems.append(f"{name}: {'; '.join(f'{p.value}: {p.reason}' for p in error.problems)}")
                continue
            if content(now) != content(tls):
                found[f.name, index] = now
                changed.append(name)
        if found:
            service.spec = replaced(service.spec, found)
            await crew.secrets(Secrets((), tuple((f, i, tls) for (f, i), tls in found.items())))
            self.replaced_at = time.time()
            for name in changed:
                service.events.add("tls", name, "certificates replaced")
                log.info("certificates of %s replaced", name)
            self.look_at_ends()
        for problem in problems:
            if problem not in self._reported:
                text = f"{problem}; the certificates before stay in use"
                log.error("%s", text)
                service.events.add("tls", "", text, level="error")
        self._reported = set(problems)
        return Replaced(tuple(changed), tuple(problems))

    async def rotate(self, crew: Crew) -> None:
        """A new ticket key for all workers."""
        self._keys.rotate()
        self._made_at = time.monotonic()
        await crew.secrets(Secrets(self._keys.keys))

    def look_at_ends(self, now: float | None = None) -> None:
        """Warns of certificates that end soon, once for each of WARN_DAYS."""
        now = time.time() if now is None else now
        for one in self.served():
            left = (one.leaf.not_after.timestamp() - now) / DAY
            step = next((days for days in reversed(WARN_DAYS) if left <= days), None)
            key = (one.frontend, one.leaf.serial)
            if step is None or self._told.get(key, WARN_DAYS[0] + 1) <= step:
                continue
            self._told[key] = step
            what = f"certificate for {', '.join(one.leaf.names[:3]) or one.leaf.subject} ({one.leaf.file})"
            end = f"{one.leaf.not_after:%Y-%m-%d %H:%M} UTC"
            text = f"{what} has ended on {end}" if left <= 0 else f"{what} ends on {end}, in {max(left, 0):.0f} days"
            level = "error" if left <= 0 else "warning"
            (log.error if left <= 0 else log.warning)("%s: %s", one.frontend, text)
            self._service.events.add("tls", f"{one.frontend} on {one.address}", text, level=level)

    def _files(self) -> Iterator[str]:
        for _, _, _, tls in tls_listeners(self._service.spec):
            yield from (str(path) for path in watched(tls))

    def _soon(self, crew: Crew) -> None:
        task = asyncio.get_running_loop().create_task(self._quietly(crew))
        self._tasks.append(task)
        task.add_done_callback(lambda done: self._tasks.remove(done) if done in self._tasks else None)

    async def _quietly(self, crew: Crew) -> None:
        try:
            await self.read_again(crew)
        except Exception:
            log.exception("certificates were not read again")

    async def _rotate(self, crew: Crew) -> None:
        while True:
            every = self._service.spec.tls.ticket_rotation
            await asyncio.sleep(max(0.0, every - self.tickets_age) if every else LOOK)
            if self._service.spec.tls.ticket_rotation and self.tickets_age >= self._service.spec.tls.ticket_rotation:
                await self.rotate(crew)

    async def _look_at_ends(self) -> None:
        while True:
            self.look_at_ends()
            await asyncio.sleep(LOOK)


def content(tls: Tls) -> tuple[object, ...]:
    """What the files held."""
    return tls.pems, tls.authorities, tls.revoked


def replaced(spec: Spec, found: dict[tuple[str, int], Tls]) -> Spec:
    """`spec` with the TLS of these listeners, by frontend and index."""
    frontends = []
    for f in spec.frontends:
        listens = tuple(
            dataclasses.replace(one, tls=found.get((f.name, index), one.tls)) for index, one in enumerate(f.listen)
        )
        frontends.append(dataclasses.replace(f, listen=listens))
    return dataclasses.replace(spec, frontends=tuple(frontends))


def with_certificates(spec: Spec, before: Spec, events: Events) -> Spec:
    """`spec` with the contents of its files. Those that `before` used already stay in use while the files are wrong.

    Raises ConfigError when others cannot be used. Blocks on the files.
    """
    acme, why = spec.tls.acme, libssl_problem()
    if why and acme is not None and acme.challenge == "tls-alpn-01" and any(t.acme for *_, t in tls_listeners(spec)):
        reason = f"needs libssl's own calls ({why}); use http-01"
        raise ConfigError([Problem("tls.acme.challenge", acme.challenge, reason, file=spec.source)])
    known = {(f.name, tls): tls for f, _, _, tls in tls_listeners(before) if tls.pems}
    found: dict[tuple[str, int], Tls] = {}
    for f, index, listen, tls in tls_listeners(spec):
        if tls.pems:
            continue
        try:
            found[f.name, index] = loaded(tls)
        except ConfigError as error:
            if (f.name, tls) not in known:
                raise
            found[f.name, index] = known[f.name, tls]
            events.add("tls", f"{f.name} on {listen.address}", f"{error}; the certificates before stay", level="error")
    spec = replaced(spec, found) if found else spec
    if any(b.tls is not None for b in spec.backends):
        backends = tuple(
            dataclasses.replace(b, tls=loaded_client(b.tls)) if b.tls is not None else b for b in spec.backends
        )
        spec = dataclasses.replace(spec, backends=backends)
    return spec
