"""A supervisor in its own process, with the stand-in engine."""

from __future__ import annotations

import http.client
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastlb.spec import Address, Backend, Frontend, Global, HealthCheck, Listen, Server, Spec, Timeouts
from tests.helpers import ROOT, Program, free_port


@dataclass
class Running:
    """A started supervisor and the port of its one frontend."""

    program: Program
    port: int

    def get(self, target: str, timeout: float = 10.0) -> str:
        """One request on its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", target)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def pids(self) -> set[int]:
        """Process ids of the workers, from the kernel."""
        children = Path(f"/proc/{self.program.pid}/task/{self.program.pid}/children").read_text()
        return {int(pid) for pid in children.split()}


def make_spec(
    port: int,
    *,
    workers: int = 2,
    drain: float = 10.0,
    servers: tuple[Server, ...] = (),
    check: HealthCheck | None = None,
    listen: tuple[Address, ...] = (),
) -> Spec:
    addresses = listen or (Address("127.0.0.1", port),)
    return Spec(
        frontends=(
            Frontend("web", tuple(Listen(a) for a in addresses), backend="app", timeouts=Timeouts(drain=drain)),
        ),
        backends=(Backend("app", servers or (Server("one", Address("127.0.0.1", 9)),), health_check=check),),
        global_=Global(workers=workers),
    )


@pytest.fixture
def supervise(start: Callable[..., Program], tmp_path: Path) -> Callable[..., Running]:
    """Starts a supervisor over `make_spec(**options)`; waits until it is ready unless told not to."""
    count = 0

    def begin(*, wait: bool = True, env: dict[str, str] | None = None, spec: Spec | None = None, **options) -> Running:
        nonlocal count
        count += 1
        port = options.pop("port", 0) or free_port()
        file = tmp_path / f"spec{count}"
        file.write_bytes(pickle.dumps(spec or make_spec(port, **options)))
        program = start([sys.executable, "-m", "tests.runtime.standin", "serve", file], cwd=ROOT, env=env)
        running = Running(program, port)
        if wait:
            program.wait_line("fastlb ready")
        return running

    return begin
