"""The servers behind the balancer, and what faults do to them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

from fastlb.bench.process import Child, free_port
from loadtests.model import Pool
from loadtests.peers import CHECKOUT, Peer


class Servers:
    """Origin servers s1, s2, ... as processes, each with a port that it keeps when it is started again."""

    def __init__(self, pool: Pool, folder: Path, seed: int) -> None:
        self._pool, self._folder, self._seed = pool, folder, seed
        self.ports = {f"s{i}": free_port() for i in range(1, pool.servers + 1)}
        self._children: dict[str, Child] = {}

    def spawn(self, server: str) -> None:
        """Starts one; `wait` waits until it answers."""
        service = self._pool.service
        settings = urlencode({"seconds": service.seconds, "slots": service.slots, "cache": service.cache})
        argv = [sys.executable, "-m", "loadtests.origin", "--name", server, "--port", str(self.ports[server])]
        argv += ["--seed", str(self._seed), "--set", settings]
        self._children[server] = Child(
            argv, None, self._folder / f"{server}.out", {"PYTHONPATH": str(CHECKOUT)}, self._folder
        )

    def wait(self, server: str) -> None:
        self._children[server].wait_port(self.ports[server])

    def start_all(self) -> None:
        for server in self.ports:
            self.spawn(server)
        for server in self.ports:
            self.wait(server)

    def stop_all(self) -> None:
        for server in list(self._children):
            self.signal(server, signal.SIGCONT)
            self._children.pop(server).stop()

    def end(self, server: str) -> None:
        """Stops one and waits for its end."""
        self._children.pop(server).stop()

    def signal(self, server: str, number: signal.Signals) -> None:
        try:
            os.kill(self._children[server].pid, number)
        except ProcessLookupError:
            pass

    def control(self, server: str, **settings: float) -> dict[str, float]:
        """Changes settings; returns how many requests it works on, and the rest it says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[server], timeout=5)
        connection.request("GET", "/control?" + urlencode(settings))
        facts: dict[str, float] = json.loads(connection.getresponse().read())
        connection.close()
        return facts

    def pids(self) -> list[int]:
        return [child.pid for child in self._children.values()]


class LiveStage:
    """Faults, done: see `loadtests.model.Stage`."""

    def __init__(self, servers: Servers, peer: Peer) -> None:
        self._servers, self._peer = servers, peer

    def kill(self, server: str) -> None:
        self._servers.signal(server, signal.SIGKILL)
        self._servers.end(server)

    def start(self, server: str) -> None:
        self._servers.spawn(server)
        self._servers.wait(server)

    def freeze(self, server: str) -> None:
        self._servers.signal(server, signal.SIGSTOP)

    def thaw(self, server: str) -> None:
        self._servers.signal(server, signal.SIGCONT)

    def set(self, server: str, **settings: float) -> None:
        self._servers.control(server, **settings)

    def drain(self, server: str) -> None:
        self._peer.drain(server)

    def ready(self, server: str) -> None:
        self._peer.ready(server)

    def await_idle(self, server: str, seconds: float) -> None:
        """Returns when the server works on nothing any more, or after so long."""
        deadline = time.monotonic() + seconds
        quiet = 0
        while time.monotonic() < deadline and quiet < 3:
            quiet = quiet + 1 if self._servers.control(server)["working"] == 0 else 0
            time.sleep(0.05)

    def reload(self) -> None:
        self._peer.reload()
