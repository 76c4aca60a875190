"""Counters go on when one process takes over from another: what the old one tells, and what the new one makes of it."""

from __future__ import annotations

import asyncio
import logging
import time

from fastlb.control.past import Teller
from fastlb.runtime.extras import Running
from fastlb.runtime.handover import CONFIRMED, Receiver, Successor
from fastlb.runtime.service import Service

log = logging.getLogger("fastlb.runtime")

EVERY = 1.0  # seconds between two looks at what has changed
SHARE = 0.05  # of the time that they may take
LAST_WORDS = 5.0  # seconds that the successor gets to take the last one


class Telling:
    """The old process's side, from when it has stopped to answer questions until its workers are gone."""

    def __init__(self, successor: Successor, service: Service) -> None:
        self._successor = successor
        self._service = service
        self._over = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def finish(self) -> None:
        """Tells what was counted last."""
        self._over.set()
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._task
        except TimeoutError:
            log.warning("process %d does not take the last counters", self._successor.pid)
        finally:
            self._successor.close()

    async def _run(self) -> None:
        service = self._service
        teller = Teller(service.region, service.past)
        first, last = True, False
        try:
            while not last:
                last = self._over.is_set()
                began = time.monotonic()
                news = teller.news(service.assignment, service.past.reloads + service.reloads)
                if first or news["counts"]:
                    await self._successor.tell(news)
                first = False
                pause = max(EVERY, (time.monotonic() - began) / SHARE)
                try:
                    async with asyncio.timeout(0 if last else pause):
                        await self._over.wait()
                except TimeoutError:
                    pass
        except OSError:
            pass  # it takes none, being an older version, or is gone: nobody else would


async def take_counts(receiver: Receiver, running: Running) -> None:
    """The new process's side: adds what the old one tells until that ends; from the first on questions are answered."""
    service = running.service
    patience = asyncio.get_running_loop().call_later(CONFIRMED, running.may_answer.set)
    try:
        async for told in receiver.counts():
            if not service.past.take(told, service.assignment):
                log.warning("the process before counted otherwise: counters begin anew")
                return
            running.may_answer.set()
    except (ValueError, KeyError, TypeError) as error:
        log.warning("what the process before has counted cannot be read: %s", error)
    finally:
        patience.cancel()
        running.may_answer.set()
        receiver.close()
