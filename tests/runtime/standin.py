"""A pure-Python engine for tests of the runtime itself, and the programs that run it.

Every request is answered "worker N pid P". `/slow?FILE` makes FILE.begun and waits until FILE exists; `/hold?FILE`
counts a request in flight on server 0 in the shared region, makes FILE and never ends; `/spin` blocks the worker's loop
for ever; `/exit` ends the process; `/generation` names the configuration. A server named "refuse this" makes `apply`
raise, one named "die once" ends a process that runs another configuration already. As a program:

    python -m tests.runtime.standin worker --fd N        a worker process
    python -m tests.runtime.standin serve FILE           the supervisor; FILE is a pickled Spec
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastlb._core.region import Region
from fastlb.control.slots import Assignment
from fastlb.runtime.supervisor import serve
from fastlb.runtime.worker_main import main as worker_main
from fastlb.spec import Spec


class StandIn:
    """Implements fastlb.runtime.engine_api.Engine with asyncio streams."""

    def __init__(
        self, region: Region, worker: int, loop: asyncio.AbstractEventLoop, *, max_connections: int = 0
    ) -> None:
        self.region = region
        self.worker = worker
        self.loop = loop
        self.max_connections = max_connections
        self.assignment = Assignment()
        self.socks: dict[int, socket.socket] = {}
        self.tasks: dict[asyncio.Task[None], bool] = {}  # True: in the middle of a request
        self.draining = False
        self.callback: Callable[[], None] | None = None
        if os.environ.get("STANDIN_SLEEPS"):
            print("standin sleeps", file=sys.stderr, flush=True)
            time.sleep(float(os.environ["STANDIN_SLEEPS"]))
        if os.environ.get("STANDIN_DIES"):
            raise RuntimeError(os.environ["STANDIN_DIES"])

    def apply(self, spec: Spec, assignment: Assignment, indices: object = None) -> None:
        names = [s.name for b in spec.backends for s in b.servers]
        if "refuse this" in names:
            raise ValueError("refused: refuse this")
        if "die once" in names and self.assignment.generation:
            os._exit(1)
        self.assignment = assignment

    def tickets(self, keys: object) -> None:
        """Speaks no TLS."""

    def challenge(self, challenges: object) -> None:
        """Answers nothing."""

    def listen(self, number: int, frontend: str, listen_index: int, sock: socket.socket) -> None:
        own = sock.dup()
        own.setblocking(False)
        self.socks[number] = own
        self.loop.add_reader(own.fileno(), self._accept, own)

    def _accept(self, own: socket.socket) -> None:
        try:
            conn, _ = own.accept()
        except BlockingIOError:
            return
        conn.setblocking(False)
        task = self.loop.create_task(self._serve(conn))
        self.tasks[task] = False
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        del self.tasks[task]
        if self.callback is not None and not self.tasks:
            self.loop.call_soon(self.callback)
            self.callback = None

    async def _serve(self, conn: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        with conn:
            while not self.draining:
                head = b""
                while b"\r\n\r\n" not in head:
                    data = await self.loop.sock_recv(conn, 65536)
                    if not data:
                        return
                    head += data
                self.tasks[task] = True
                target = head.split(b" ", 2)[1].decode()
                body = (await self._answer(target)).encode()
                end = "close" if self.draining else "keep-alive"
                response = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: {end}\r\n\r\n".encode()
                await self.loop.sock_sendall(conn, response + body)
                self.tasks[task] = False

    async def _answer(self, target: str) -> str:
        path, _, query = target.partition("?")
        if path == "/slow":
            Path(query + ".begun").touch()
            while not Path(query).exists():
                await asyncio.sleep(0.01)
        elif path == "/hold":
            self.region.hold(self.worker, 0)
            Path(query).touch()
            await asyncio.Event().wait()
        elif path == "/spin":
            while True:
                pass
        elif path == "/exit":
            os._exit(3)
        elif path == "/generation":
            return str(self.assignment.generation)
        return f"worker {self.worker} pid {os.getpid()}"

    def unlisten(self, number: int, within: float) -> None:
        own = self.socks.pop(number)
        self.loop.remove_reader(own.fileno())
        self._accept(own)
        own.close()

    def alone(self) -> None:
        pass

    def stop_accepting(self) -> None:
        for number in list(self.socks):
            self.unlisten(number, 0)

    def drain(self, patience: float = 0.0) -> None:
        self.draining = True
        for task, busy in self.tasks.items():
            if not busy:
                task.cancel()

    def active(self) -> int:
        return len(self.tasks)

    def on_idle(self, callback: Callable[[], None]) -> None:
        if self.tasks:
            self.callback = callback
        else:
            self.loop.call_soon(callback)

    def close(self) -> None:
        self.stop_accepting()
        for task in list(self.tasks):
            task.cancel()

    def reopen_logs(self) -> None:
        print(f"standin {self.worker} reopened", file=sys.stderr, flush=True)

    def tick(self) -> None:
        pass

    def connections(self, most: int) -> tuple[list[dict[str, Any]], int]:
        return [], 0

    def errors(self) -> list[dict[str, Any]]:
        return []

    def traffic(self) -> dict[str, list[dict[str, Any]]]:
        return {"auth": [], "mirrors": []}

    def recent_log(self) -> bytes | None:
        return None

    def watch_log(self) -> bytes | None:
        return None

    def take_log(self) -> tuple[bytes, int]:
        return b"", 0

    def take_spans(self) -> tuple[bytes, int, int]:
        return b"", 0, 0

    def unwatch_log(self) -> None:
        pass


def main() -> int:
    if sys.argv[1] == "worker":
        return worker_main(sys.argv[2:], StandIn)
    spec: Spec = pickle.loads(Path(sys.argv[2]).read_bytes())
    return serve(spec, command=[sys.executable, "-m", "tests.runtime.standin", "worker"], factory=StandIn)


if __name__ == "__main__":
    sys.exit(main())
