"""`fastlb.LoadBalancer` in a thread, for plain tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from fastlb.embed import Config, LoadBalancer
from fastlb.testing.background import Address, BackgroundLoop


class Named(Protocol):
    """Something with an address: an Origin, a FaultyProxy."""

    @property
    def name(self) -> str: ...


class Balancer:
    """A balancer in this process while the `with` block lasts. Leaving drains it.

    loop: makes the event loop, `uvloop.new_event_loop` say; the default is asyncio's own.
    """

    def __init__(
        self, config: Config, *, loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    ) -> None:
        self._balancer = LoadBalancer(config)
        self._make_loop = loop
        self._background: BackgroundLoop | None = None
        self._addresses: dict[str, list[Address]] = {}

    @classmethod
    def to(
        cls,
        *servers: Named | str,
        frontend: Mapping[str, Any] | None = None,
        backend: Mapping[str, Any] | None = None,
        loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        **sections: Any,
    ) -> Self:
        """One frontend 'web' on a free port before one backend 'app' of these servers; nothing is logged.

        `frontend` and `backend` hold further keys of the two, `sections` further sections: timeouts={"header": "1s"}.
        """
        names = [s if isinstance(s, str) else s.name for s in servers]
        config: dict[str, Any] = {
            "log": {"access": "off"},
            "frontends": {"web": {"listen": ["127.0.0.1:0"], "backend": "app", **(frontend or {})}},
            "backends": {"app": {"servers": names, **(backend or {})}},
            **sections,
        }
        return cls(config, loop=loop)

    @property
    def address(self) -> Address:
        """The first address of the first frontend."""
        return next(iter(self.addresses.values()))[0]

    @property
    def addresses(self) -> dict[str, list[Address]]:
        """Where each frontend listens."""
        if self._background is None:
            raise RuntimeError("not started: use 'with'")
        return self._addresses

    @property
    def url(self) -> str:
        """'http://host:port' of `address`."""
        if isinstance(self.address, str):
            raise ValueError("a Unix socket has no URL")
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __enter__(self) -> Self:
        background = BackgroundLoop("balancer", self._make_loop)
        try:
            background.run(self._balancer.__aenter__())
        except BaseException:
            background.close()
            raise
        self._background = background
        self._addresses = dict(self._balancer.addresses)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        background, self._background = self._background, None
        if background is not None:
            try:
                # The drain has its own end, timeouts.drain; a minute more is for a machine under load.
                drain = max((f.timeouts.drain for f in self._balancer.spec.frontends), default=0.0)
                background.run(self._balancer.__aexit__(kind, error, trace), drain + 60)
            finally:
                background.close()
