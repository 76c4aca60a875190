"""The balancer inside an application: `async with fastlb.LoadBalancer(config) as lb:`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from fastlb.config import load, parse
from fastlb.runtime import Embedded, RuntimeInfo
from fastlb.spec import Spec

Config = str | os.PathLike[str] | Mapping[str, Any] | Spec


class LoadBalancer:
    """Runs the engine of `fastlb serve` on the current event loop, asyncio's own or uvloop.

    `config` is the path of a TOML file, the text of one (it has a line break or a '='), a mapping of the same shape, or
    a `Spec`; `workers` in it does not matter. A wrong configuration raises ConfigError here, before anything starts.

        config = {
            "frontends": {"web": {"listen": ["127.0.0.1:0"], "backend": "app"}},
            "backends": {"app": {"servers": ["127.0.0.1:9000"]}},
        }
        async with fastlb.LoadBalancer(config) as lb:
            host, port = lb.addresses["web"][0]

    Leaving the block finishes what is in flight, for `timeouts.drain` at most. May be entered again afterwards.
    """

    def __init__(self, config: Config) -> None:
        self._spec = read(config)
        self._running: Embedded | None = None

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise RuntimeError("already started")
        self._running = Embedded(self._spec)
        try:
            await self._running.__aenter__()
        except BaseException:
            self._running = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.__aexit__(kind, error, trace)

    @property
    def spec(self) -> Spec:
        """The checked configuration."""
        return self._spec

    @property
    def addresses(self) -> dict[str, list[tuple[str, int] | str]]:
        """Where each frontend listens: (host, port), the real one where it was 0, or the path of a Unix socket."""
        return self._started().addresses

    @property
    def info(self) -> RuntimeInfo:
        """Limits and addresses of the running balancer."""
        return self._started().info

    def _started(self) -> Embedded:
        if self._running is None:
            raise RuntimeError("not started: use 'async with'")
        return self._running


def read(config: Config) -> Spec:
    """The Spec that `config` stands for; ConfigError names everything wrong with it."""
    if isinstance(config, Spec):
        return config
    if isinstance(config, os.PathLike) or (isinstance(config, str) and "\n" not in config and "=" not in config):
        return load(config)
    return parse(config)
