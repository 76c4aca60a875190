"""One engine on the loop of the program that embeds fastlb (`workers = 0`)."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from fastlb.runtime.drain import drain_time
from fastlb.runtime.engine_api import EngineFactory
from fastlb.runtime.info import RuntimeInfo
from fastlb.runtime.inline import InlineCrew
from fastlb.runtime.service import Service
from fastlb.spec import Spec


class Embedded:
    """Serves `spec` on the running loop (uvloop or asyncio's own) while the `async with` lasts; then drains.

    Entering raises ListenError, ConfigError or StartError, with nothing left open. Signals, the limit of open files and
    logging stay the program's own affair; records go to the loggers 'fastlb.*'.
    """

    def __init__(self, spec: Spec, *, factory: EngineFactory | None = None) -> None:
        self._spec = spec
        self._factory = factory
        self._service: Service | None = None
        self._crew: InlineCrew | None = None

    async def __aenter__(self) -> Self:
        if self._service is not None:
            raise RuntimeError("already started")
        service = Service(self._spec, workers=0, own_process=False)
        await service.open()
        crew = InlineCrew(service, self._factory)
        try:
            await crew.start()
        except BaseException:
            await crew.stop()
            await service.close()
            raise
        service.watch(crew)
        self._service, self._crew = service, crew
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes what is in flight (`timeouts.drain`); when the block ended with an exception, drops it at once."""
        service, crew = self._service, self._crew
        if service is None or crew is None:
            return
        self._service = self._crew = None
        try:
            await service.stop_watching()
            service.listeners.close()
            if kind is None:
                await crew.drain(drain_time(service.spec))
        finally:
            await crew.stop()
            await service.close()

    @property
    def spec(self) -> Spec:
        """The configuration that runs."""
        return self._started().spec

    @property
    def addresses(self) -> dict[str, list[tuple[str, int] | str]]:
        """Where each frontend listens: (host, port), the real one where it was 0, or the path of a Unix socket."""
        return self._started().listeners.addresses()

    @property
    def info(self) -> RuntimeInfo:
        """Limits and addresses of the running balancer."""
        return self._started().info(os.getpid())

    def _started(self) -> Service:
        if self._service is None:
            raise RuntimeError("not started: use 'async with'")
        return self._service
