"""Messages and descriptors between supervisor and worker."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pickle
import socket
from collections.abc import Callable

import pytest
import uvloop

from fastlb.control.slots import Slots
from fastlb.runtime import messages
from fastlb.runtime.channel import HEADER, MAX_FDS, Channel, ChannelError
from fastlb.spec import Address, Backend, Frontend, HeaderRules, Listen, Redirect, Route, Server, Spec

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


class End:
    """One end, with what it received."""

    def __init__(self, sock: socket.socket) -> None:
        self.messages: list[messages.Message] = []
        self.fds: list[int] = []
        self.ended: list[Exception | None] = []
        self.changed = asyncio.Event()
        self.channel = Channel(sock, self._message, self._end)

    def _message(self, message: messages.Message, fds: list[int]) -> None:
        self.messages.append(message)
        self.fds += fds
        self.changed.set()

    def _end(self, error: Exception | None) -> None:
        self.ended.append(error)
        self.changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                self.changed.clear()
                await self.changed.wait()


def on(loop, work) -> None:
    """Runs work(a, b) over a pair of ends; every descriptor the test process had not before must be gone after."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.sleep(0))  # what the first loop of a kind opens for the process, it keeps
    before = set(os.listdir("/proc/self/fd"))

    async def main() -> None:
        one, two = socket.socketpair()
        a, b = End(one), End(two)
        try:
            await work(a, b)
        finally:
            for end in (a, b):
                end.channel.close()
                for fd in end.fds:
                    os.close(fd)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert set(os.listdir("/proc/self/fd")) == before


def large_spec(servers: int) -> Spec:
    route = Route("r", host=("a",), redirect=Redirect("/x"), request_headers=HeaderRules(set=(("A", "b"),)))
    return Spec(
        (Frontend("web", (Listen(Address("", 80)),), routes=(route,)),),
        (Backend("app", tuple(Server(f"s{n}", Address("10.0.0.1", n)) for n in range(servers))),),
    )


@LOOPS
def test_messages_arrive_in_order_and_whole(loop) -> None:
    async def work(a: End, b: End) -> None:
        spec = large_spec(3000)
        sent: list[messages.Message] = [
            messages.Start(3, spec, Slots().assign(spec), 100),
            messages.Sockets((("web", 0), ("web", 1))),
            messages.Drain(1.5),
            messages.Apply(spec, Slots().assign(spec), ((1, "web", 0),)),
            messages.Stop(),
        ]
        for message in sent:
            a.channel.send(message)
        await b.until(lambda: len(b.messages) == len(sent))
        assert b.messages == sent
        b.channel.send(messages.Ready(7))
        await a.until(lambda: bool(a.messages))
        assert a.messages == [messages.Ready(7)]

    on(loop, work)


@LOOPS
def test_descriptors_come_with_their_message(loop) -> None:
    async def work(a: End, b: End) -> None:
        pipes = [os.pipe() for _ in range(60)]
        for n, (read, _) in enumerate(pipes):
            a.channel.send(messages.Ready(n), [read] * (n % 3))
        a.channel.send(messages.Start(0, large_spec(2000), Slots().assign(large_spec(1)), 0), [p[0] for p in pipes])
        for read, _ in pipes:
            os.close(read)  # they travel as copies
        await b.until(lambda: len(b.messages) == 61)
        expected = [n for n in range(60) for _ in range(n % 3)] + list(range(60))
        for n, (_, write) in enumerate(pipes):
            os.write(write, bytes([n]) * expected.count(n))
            os.close(write)
        assert [os.read(fd, 1)[0] for fd in b.fds] == expected

    on(loop, work)


@LOOPS
def test_unsent_descriptors_are_closed(loop) -> None:
    async def work(a: End, b: End) -> None:
        b.channel._loop.remove_reader(b.channel._sock.fileno())  # a worker that does not read
        read, write = os.pipe()
        for _ in range(50):
            a.channel.send(messages.Apply(large_spec(2000), Slots().assign(large_spec(1)), ()), [read])
        os.close(read)
        os.close(write)

    on(loop, work)


@LOOPS
def test_the_end_is_told_once(loop) -> None:
    async def work(a: End, b: End) -> None:
        a.channel.send(messages.Failed("last words"))
        a.channel.close()
        a.channel.close()
        await b.until(lambda: bool(b.ended))
        assert b.messages == [messages.Failed("last words")]
        assert b.ended == [None]
        b.channel.send(messages.Stop())  # to nobody
        assert a.ended == []  # who closes is not told

    on(loop, work)


@LOOPS
def test_the_last_words_of_a_peer_that_does_not_read_arrive(loop) -> None:
    async def work(a: End, b: End) -> None:
        a.channel.send(messages.Failed("why"))
        a.channel._sock.shutdown(socket.SHUT_RD)
        b.channel.send(messages.Stop())
        await b.until(lambda: bool(b.messages))
        assert b.messages == [messages.Failed("why")]

    on(loop, work)


class Evil:
    def __init__(self, call, *args) -> None:
        self.call = call
        self.args = args

    def __reduce__(self):
        return self.call, self.args


def frame(payload: bytes, fds: int = 0) -> bytes:
    return HEADER.pack(len(payload), fds) + payload


@pytest.mark.parametrize(
    "raw",
    [
        frame(pickle.dumps(Evil(os.system, "echo owned"))),
        frame(pickle.dumps(Evil(getattr, Spec, "__init__"))),
        frame(pickle.dumps(dataclasses.replace)),
        frame(pickle.dumps(Spec((), ()))),  # known, but not a message
        frame(pickle.dumps(42)),
        frame(b"not a pickle"),
        frame(b""),
        frame(pickle.dumps(messages.Stop()), fds=1),  # promised, not sent
        HEADER.pack(0xFFFFFFFF, 0),
        HEADER.pack(1, MAX_FDS + 1),
    ],
)
def test_nonsense_ends_the_channel_and_runs_nothing(raw: bytes, capfd) -> None:
    async def main() -> None:
        one, two = socket.socketpair()
        end = End(one)
        two.sendall(raw)
        await end.until(lambda: bool(end.ended))
        assert isinstance(end.ended[0], ChannelError)
        assert end.messages == []
        two.close()

    asyncio.run(main())
    assert "owned" not in capfd.readouterr().out


def test_too_many_descriptors_are_refused() -> None:
    async def main() -> None:
        one, two = socket.socketpair()
        end = End(one)
        with pytest.raises(ValueError, match="descriptors"):
            end.channel.send(messages.Stop(), [0] * (MAX_FDS + 1))
        end.channel.close()
        two.close()

    asyncio.run(main())
