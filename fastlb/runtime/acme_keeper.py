"""Gets the certificates that listeners want by ACME, and renews them in time.

A certificate is renewed when two thirds of its life are over, or when the authority says so (RFC 9773). One that was
not got is tried for again, later each time; the one before stays in use, and until there is any the listeners show a
stand-in. Orders run one after the other, in a thread of their own.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastlb.control.certificate import Leaf, leaf_of
from fastlb.control.tls import tls_listeners
from fastlb.runtime.messages import Secrets
from fastlb.spec import Acme, Challenges, Pem

if TYPE_CHECKING:
    from fastlb.runtime.service import Crew, Service

log = logging.getLogger("fastlb.runtime")

LOOK = 3600.0  # seconds between two looks at most
FIRST, LONGEST = 60.0, 6 * 3600.0  # seconds until a failed order is tried again; twice as long each time
SHOWN = 30.0  # seconds in which all workers show what they were told to


@dataclass(slots=True)
class Order:
    """A certificate that listeners want. All times as time.time(), 0 = none."""

    names: tuple[str, ...]
    file: str
    state: Literal["waiting", "ordering", "valid", "failed"] = "waiting"
    renew_at: float = 0.0
    ask_at: float = 0.0  # the authority, about the time of renewal
    next_try: float = 0.0
    failures: int = 0  # since the last success
    error: str = ""  # of the last failure
    issued: int = 0  # certificates got since the start
    failed: int = 0  # orders that failed since the start


def renewal_time(leaf: Leaf) -> float:
    """When two thirds of its life are over, as time.time()."""
    begin, end = leaf.not_before.timestamp(), leaf.not_after.timestamp()
    return begin + (end - begin) * 2 / 3


def pause(failures: int) -> float:
    """Seconds until the next try after so many failures in a row."""
    return min(FIRST * 2.0 ** min(failures - 1, 20), LONGEST)


class AcmeKeeper:
    """Of one service. `start` when the crew runs, `stop` before it ends."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._orders: dict[str, Order] = {}
        self.challenges = Challenges()  # what every worker shows now

    @property
    def orders(self) -> list[Order]:
        """What is wanted, in the order of the configuration."""
        return list(self._orders.values())

    def of_file(self, file: str) -> Order | None:
        """The order whose certificate is kept in this file."""
        return self._orders.get(file)

    def start(self, crew: Crew) -> None:
        """Begins to get what is missing."""
        self._task = asyncio.get_running_loop().create_task(self._run(crew))

    async def stop(self) -> None:
        """Ends what `start` began; an order under way is left to itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def changed(self) -> None:
        """The configuration may want others now."""
        self._changed.set()

    def nudge(self) -> None:
        """What failed is tried again at once."""
        for one in self._orders.values():
            one.next_try = 0.0
        self._changed.set()

    async def _run(self, crew: Crew) -> None:
        while True:
            self._changed.clear()
            try:
                settings = self._wanted()
                for one in list(self._orders.values()):
                    if settings is not None:
                        await self._look(one, settings, crew)
            except Exception:
                log.exception("acme: certificates were not looked after")
            now = self._clock()
            moments = [max(one.next_try, min(one.renew_at, one.ask_at or one.renew_at)) for one in self.orders]
            wait = min(max(min(moments, default=now + LOOK) - now, 1.0), LOOK)
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _wanted(self) -> Acme | None:
        """Brings the orders in line with the configuration."""
        spec = self._service.spec
        found: dict[str, Order] = {}
        for _, _, _, tls in tls_listeners(spec):
            if tls.acme and tls.acme_cert not in found:
                before = self._orders.get(tls.acme_cert)
                same = before is not None and set(before.names) == set(tls.acme)
                found[tls.acme_cert] = before if before and same else Order(tls.acme, tls.acme_cert)
        self._orders = found
        return spec.tls.acme if found else None

    async def _look(self, one: Order, settings: Acme, crew: Crew) -> None:
        leaf = await asyncio.to_thread(_kept, one.file)
        now = self._clock()
        if leaf is not None and set(leaf.names) == set(one.names):
            one.renew_at = min(one.renew_at or renewal_time(leaf), renewal_time(leaf))
            if one.state == "waiting":
                one.state = "valid"
            if now >= one.ask_at and now < one.renew_at and now >= one.next_try:
                await self._ask(one, settings)
        else:
            one.renew_at = 0.0
        if now >= max(one.renew_at, one.next_try):
            await self._order(one, settings, crew)

    async def _ask(self, one: Order, settings: Acme) -> None:
        """Has the authority say when it wants the certificate to be renewed."""
        one.ask_at = self._clock() + LOOK * 6
        try:
            pem = await asyncio.to_thread(Path(one.file).read_bytes)
            when, again = await _in_thread(lambda: _library().renewal(settings, pem))
        except Exception as error:
            log.debug("acme: no word about the renewal of %s: %s", one.names[0], error)
            return
        one.ask_at = max(again, self._clock() + 60)
        if when is not None:
            one.renew_at = min(one.renew_at, when)

    async def _order(self, one: Order, settings: Acme, crew: Crew) -> None:
        loop = asyncio.get_running_loop()
        names, events = ", ".join(one.names), self._service.events

        def show(challenges: Challenges) -> None:
            asyncio.run_coroutine_threadsafe(self._show(challenges, crew), loop).result(SHOWN)

        one.state = "ordering"
        log.info("acme: ordering a certificate for %s from %s", names, settings.directory)
        try:
            pem = await _in_thread(lambda: _library().order(settings, one.names, show))
            await asyncio.to_thread(_library().write, settings, one.file, pem)
        except Exception as error:
            one.state, one.error = "failed", str(error) or type(error).__name__
            one.failures += 1
            one.failed += 1
            one.next_try = self._clock() + pause(one.failures)
            text = f"no certificate for {names}: {one.error}; next try in {pause(one.failures):.0f} s"
            log.warning("acme: %s", text)
            events.add("tls", names, f"acme: {text}", level="warning")
            return
        leaf = leaf_of(Pem(one.file, pem))
        one.state, one.error, one.failures, one.next_try = "valid", "", 0, 0.0
        one.issued += 1
        one.renew_at, one.ask_at = renewal_time(leaf), self._clock() + LOOK
        text = f"certificate for {names} until {leaf.not_after:%Y-%m-%d %H:%M} UTC"
        log.info("acme: %s", text)
        events.add("tls", names, f"acme: {text}")
        await self._service.tls.read_again(crew)

    async def _show(self, challenges: Challenges, crew: Crew) -> None:
        self.challenges = challenges
        await crew.secrets(Secrets((), (), challenges))


def _library() -> Any:
    # Late: the library is an extra, and slow to import.
    return importlib.import_module("fastlb.acme.order")


def _kept(file: str) -> Leaf | None:
    try:
        return leaf_of(Pem(file, Path(file).read_bytes()))
    except (OSError, ValueError):
        return None


async def _in_thread(what: Callable[[], Any]) -> Any:
    """The result of `what()`, in a thread that nobody waits for at the end: an authority may take minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = what()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(tell, result, failure)
        except RuntimeError:
            pass  # the loop is closed: nobody wants to know

    threading.Thread(target=run, name="fastlb acme", daemon=True).start()
    return await done
