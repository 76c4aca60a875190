"""Rates that several nodes share, through Redis.

No request waits for it. Each node counts by its own table; ten times a second (`redis.interval`) it adds what it
counted to the keys in Redis, and raises its own table to what all nodes together have counted. The sums in Redis are
those of the cell rate algorithm too, the theoretical arrival time of a key, and they are moved on by everything that
was let in, so in the longer run all nodes together let through the rate and no more. In the short run a node may let
through what its own table allows of a key until it has heard of the others: at most its burst, once.

Where Redis does not answer within `redis.timeout` the nodes go on by their own tables, and it is asked again every
second. What was counted meanwhile is not told afterwards: each node has held its own limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from fastlb.control.events import Events
from fastlb.control.rates import rule_names
from fastlb.control.region import Region
from fastlb.control.secrets import read_secret
from fastlb.engine.rate_share import SharedRates
from fastlb.errors import ConfigError
from fastlb.spec import Redis, Spec

log = logging.getLogger("fastlb.limits")

BATCH = 500  # keys of one call
RETRY = 1.0  # seconds after a failure

# KEYS: keys; ARGV: microseconds to add to each. Answers how far each is ahead of now, in microseconds.
SCRIPT = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local ahead = {}
for i, key in ipairs(KEYS) do
  local tat = tonumber(redis.call('GET', key) or '0') or 0
  if tat < now then tat = now end
  tat = tat + tonumber(ARGV[i])
  redis.call('SET', key, string.format('%.0f', tat), 'PX', math.floor((tat - now) / 1000) + 1000)
  ahead[i] = string.format('%.0f', tat - now)
end
return ahead
"""


@dataclass(slots=True)
class SyncStatus:
    """What the sharing of rates has done so far."""

    wanted: bool = False  # the configuration has rates that are shared
    up: bool = False
    exchanges: int = 0
    errors: int = 0
    lost: int = 0  # notes of workers that found no room


class RateSync:
    """Tells Redis what this node counted, and this node what all have. One a balancer; does nothing unless asked to."""

    def __init__(self, region: Region, events: Events) -> None:
        self.status = SyncStatus()
        self._rates = SharedRates(region)
        self._events = events
        self._settings: Redis | None = None
        self._task: asyncio.Task[None] | None = None

    def apply(self, spec: Spec) -> None:
        """Begins, goes on or ends as the configuration says."""
        wanted = spec.redis if any(rule.shared for _, _, _, rule in rule_names(spec)) else None
        self.status.wanted = wanted is not None
        if wanted == self._settings:
            return
        self.close()
        self._settings = wanted
        if wanted is not None:
            self._rates.take({})  # what nobody asked for until now
            self._task = asyncio.get_running_loop().create_task(self._run(wanted))

    def close(self) -> None:
        """Ends it; the keys in Redis expire by themselves."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._settings = None
        self.status.up = False

    async def _run(self, settings: Redis) -> None:
        reported = False
        while True:
            client = None
            try:
                client = _connect(settings)
                script = client.register_script(SCRIPT)
                await asyncio.wait_for(client.ping(), settings.timeout)
                self._rates.take({})
                heard = time.monotonic()
                self._turn(True, "rates are shared through Redis")
                reported = False
                while True:
                    await asyncio.sleep(settings.interval)
                    if await self._exchange(settings, script):
                        heard = time.monotonic()
                    elif time.monotonic() - heard > RETRY:
                        await asyncio.wait_for(client.ping(), settings.timeout)  # so that its loss is known early
                        heard = time.monotonic()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # whatever it is, limits go on by this node's own counts
                self.status.errors += 1
                if self.status.up or not reported:
                    reported = True
                    why = str(error) or type(error).__name__
                    self._turn(False, f"Redis does not answer, rates are limited by each node alone: {why}")
            finally:
                if client is not None:
                    await _leave(client, settings.timeout)
            await asyncio.sleep(RETRY)

    def _turn(self, up: bool, text: str) -> None:
        self.status.up = up
        log.log(logging.INFO if up else logging.WARNING, "%s", text)
        self._events.add("limits", "redis", text, level="info" if up else "warning")

    async def _exchange(self, settings: Redis, script: Any) -> bool:
        """False when there was nothing to tell."""
        counted: dict[int, int] = {}
        self._rates.take(counted)
        self.status.lost = self._rates.lost()
        keys = list(counted)
        for first in range(0, len(keys), BATCH):
            some = keys[first : first + BATCH]
            names = [f"{settings.prefix}{key:016x}" for key in some]
            added = [f"{counted[key] / 1000:.3f}" for key in some]
            answer = await asyncio.wait_for(script(keys=names, args=added), settings.timeout)
            self.status.exchanges += 1
            for key, ahead in zip(some, answer, strict=True):
                self._rates.raise_to(key, int(ahead) * 1000)
        return bool(keys)


def _connect(settings: Redis) -> Any:
    import redis.asyncio

    try:
        url = read_secret(settings.url, "redis.url").decode()
    except ConfigError as error:
        raise RuntimeError(str(error)) from error
    return redis.asyncio.from_url(
        url, socket_timeout=settings.timeout, socket_connect_timeout=settings.timeout, single_connection_client=True
    )


async def _leave(client: Any, within: float) -> None:
    try:
        await asyncio.wait_for(client.aclose(), within)
    except Exception:
        log.debug("the connection to Redis was not closed in good order", exc_info=True)
