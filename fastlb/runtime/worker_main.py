"""Entry of a worker process: `python -m fastlb.runtime.worker_main --fd N`, N being its end of the channel.

A fresh process, started by the supervisor and by nobody else. It learns everything over the channel, and when that
closes (the supervisor died) it drains and leaves. What it cannot go on from it reports, and leaves; the supervisor
starts another.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys

from fastlb.control.region import Region
from fastlb.control.sockets import Given
from fastlb.runtime import messages
from fastlb.runtime.channel import Channel
from fastlb.runtime.drain import drain_time
from fastlb.runtime.engine_api import EngineFactory, default_factory
from fastlb.runtime.host import EngineHost
from fastlb.runtime.log_setup import set_up_log

log = logging.getLogger("fastlb.runtime")

# The supervisor decides; these reach the worker only because a terminal or a service manager signals the whole group.
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Worker:
    """The worker's side of the channel."""

    def __init__(self, sock: socket.socket, factory: EngineFactory) -> None:
        self._factory = factory
        self._host: EngineHost | None = None
        self._sockets: list[Given] = []  # until they are handed to the engine
        self._drain = 30.0
        self._role = "worker"
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel = Channel(sock, self._on_message, self._on_close)

    async def run(self) -> int:
        """Serves until told to leave; returns the exit status."""
        try:
            return await self._end
        finally:
            if self._host is not None:
                self._host.close()
            self._channel.close()

    def _leave(self, status: int) -> None:
        if not self._end.done():
            self._end.set_result(status)

    def _on_message(self, message: messages.Message, fds: list[int]) -> None:
        match message:
            case messages.Sockets(listeners):
                for key, fd in zip(listeners, fds, strict=True):
                    self._sockets.append((*key, socket.socket(fileno=fd)))
            case messages.Start():
                self._start(message, fds)
            case messages.Apply():
                self._apply(message)
            case messages.Unlisten(numbers, within):
                if self._host is not None:
                    self._host.unlisten(numbers, within)
                self._channel.send(messages.Unlistened(numbers))
            case messages.Drain(timeout, patience):
                self._begin_drain(timeout, patience)
            case messages.Stop():
                self._leave(0)
            case messages.Ask(number, what):
                self._channel.send(messages.Told(number, self._host and self._host.answer(what, self._send_lines)))
            case messages.Secrets():
                if self._host is not None:
                    self._host.secrets(message)
            case messages.ReopenLogs():
                if self._host is not None:
                    self._host.engine.reopen_logs()
            case _:
                log.error("unexpected message %s", type(message).__name__)

    def _send_lines(self, lines: bytes, lost: int) -> None:
        self._channel.send(messages.LogLines(lines, lost))

    def _send_spans(self, records: bytes, count: int, lost: int) -> None:
        self._channel.send(messages.SpanRecords(records, count, lost))

    def _on_close(self, error: Exception | None) -> None:
        if self._host is None:
            log.error("no start from the supervisor: %s", error or "it is gone")
            self._leave(1)
            return
        log.error("the supervisor is gone%s; draining", f" ({error})" if error else "")
        self._begin_drain(self._drain)

    def _start(self, message: messages.Start, fds: list[int]) -> None:
        self._role = f"worker {message.worker}"
        set_up_log(message.spec.log.level, self._role)
        try:
            region = Region.attach(fds[0])
            self._host = EngineHost(region, message.worker, self._factory, max_connections=message.max_connections)
            self._host.engine.alone()
            self._host.takes_spans, self._host.on_spans = lambda: self._channel.idle, self._send_spans
            self._host.start(message.spec, message.assignment, self._sockets, message.tickets, message.challenges)
        except Exception as error:
            log.exception("cannot start")
            self._channel.send(messages.Failed(f"{type(error).__name__}: {error}"))
            self._leave(1)
            return
        finally:
            self._close_sockets()
        self._drain = drain_time(message.spec)
        self._track(self._host)
        self._channel.send(messages.Ready(message.assignment.generation))

    def _apply(self, message: messages.Apply) -> None:
        generation = message.assignment.generation
        try:
            if self._host is None:
                return
            indices = {number: index for number, _, index in message.listeners}
            self._host.apply(message.spec, message.assignment, self._sockets, indices)
        except Exception as error:
            log.exception("the new configuration was not applied")
            self._channel.send(messages.Applied(generation, f"{type(error).__name__}: {error}"))
            return
        finally:
            self._close_sockets()
        set_up_log(message.spec.log.level, self._role)
        self._drain = drain_time(message.spec)
        self._channel.send(messages.Applied(generation))

    def _close_sockets(self) -> None:
        for _, _, _, sock in self._sockets:  # the engine has its own copies
            sock.close()
        self._sockets.clear()

    def _begin_drain(self, within: float, patience: float = 0.0) -> None:
        if self._host is None:
            self._leave(0)
        else:
            self._host.drain(within, patience)

    def _track(self, host: EngineHost) -> None:
        async def wait() -> None:
            await host.ended()
            self._leave(0)

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _run(fd: int, factory: EngineFactory) -> int:
    return await Worker(socket.socket(fileno=fd), factory).run()


def main(argv: list[str] | None = None, factory: EngineFactory | None = None) -> int:
    """Runs a worker to its end; returns the exit status."""
    parser = argparse.ArgumentParser(prog="fastlb-worker", description="Started by fastlb itself.")
    parser.add_argument("--fd", type=int, required=True)
    options = parser.parse_args(argv)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    set_up_log("info", "worker")
    faulthandler.enable()  # also answers the supervisor's SIGABRT with a traceback
    os.set_inheritable(options.fd, False)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(options.fd, factory or default_factory()))


if __name__ == "__main__":
    sys.exit(main())
