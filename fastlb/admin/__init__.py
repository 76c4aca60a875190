"""The admin interface: JSON API, metrics, HAProxy's CSV and the stats page, inside the supervisor's process.

`extras()` gives what `fastlb.runtime.serve` takes to run it. The imports are left until there is an [admin], at the
start or after a reload: they are large.
"""

from __future__ import annotations

from fastlb.control.sockets import Inherited
from fastlb.runtime.extras import Extra, ExtraFactory, ExtraPlan, Running
from fastlb.spec import Admin, Spec


def extras() -> list[ExtraFactory]:
    """The factories for any configuration."""
    return [OnDemand]


class OnDemand:
    """The `Extra` that becomes the admin interface when a configuration has one."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._server: Extra | None = None

    async def open(self) -> None:
        """Raises what the plan of the interface raises."""
        (await self.plan(self._running.service.spec)).commit()

    async def plan(self, spec: Spec) -> ExtraPlan:
        if self._server is None:
            if not wanted(spec.admin):
                return _Nothing()
            # Half a second in which the supervisor does nothing else, once.
            from fastlb.admin.server import AdminServer

            self._server = AdminServer(self._running)
        return await self._server.plan(spec)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()

    def places(self) -> list[str]:
        return [] if self._server is None else self._server.places()

    def files(self) -> list[str]:
        return [] if self._server is None else self._server.files()

    def inheritance(self) -> list[Inherited]:
        return [] if self._server is None else self._server.inheritance()

    def forget_files(self) -> None:
        if self._server is not None:
            self._server.forget_files()


class _Nothing:
    def commit(self) -> None:
        pass

    def abort(self) -> None:
        pass


def wanted(admin: Admin) -> bool:
    """Whether there is to be an admin interface."""
    return admin.listen is not None or bool(admin.socket)
