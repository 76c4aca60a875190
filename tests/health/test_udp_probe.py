"""The check by datagram: every way it can end, on both loops."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvloop

from fastlb.health.plan import plan_of
from fastlb.health.udp_probe import octets
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, Backend, HealthCheck, Server
from tests.helpers import free_port

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def probe(target: tuple[str, int], loop: Callable[[], asyncio.AbstractEventLoop], **check: object) -> Verdict:
    async def main() -> Verdict:
        running = asyncio.get_running_loop()
        result: asyncio.Future[Verdict] = running.create_future()
        family = int(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
        server = Server("one", Address("app", 80), resolved=((family, target),))
        wanted = HealthCheck(type="udp", **{"timeout": 10.0, **check})  # type: ignore[arg-type]
        plan_of(Backend("app", (server,)), server, wanted).begin(running, result.set_result)
        return await result

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@contextmanager
def answering(*answers: bytes, host: str = "127.0.0.1") -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server that answers one datagram."""
    got: list[bytes] = []
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))

        def serve() -> None:
            data, who = sock.recvfrom(65536)
            got.append(data)
            for answer in answers:
                sock.sendto(answer, who)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[:2], got
        thread.join()


@LOOPS
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_expected_answer(loop, host: str) -> None:
    with answering(b"\x12\x34 and more", host=host) as (where, got):
        assert probe(where, loop, send="hex:0001ff", receive="hex:1234").word is Word.L7OK
    assert got == [b"\x00\x01\xff"]


@LOOPS
def test_any_answer(loop) -> None:
    with answering(b"") as (where, got):
        assert probe(where, loop).word is Word.L7OK
    assert got == [b""]


@LOOPS
def test_another_answer(loop) -> None:
    with answering(b"no") as (where, _):
        verdict = probe(where, loop, send="hello", receive="yes")
    assert (verdict.word, verdict.info) == (Word.L7RSP, "answered 2 bytes, in hexadecimal 6e6f")


@LOOPS
@pytest.mark.parametrize("receive", ["", "yes"])
def test_nobody_listens(loop, receive: str) -> None:
    verdict = probe(("127.0.0.1", free_port(kind=socket.SOCK_DGRAM)), loop, receive=receive)
    assert (verdict.word, verdict.info) == (Word.L4CON, "Connection refused")


@LOOPS
@pytest.mark.parametrize(("receive", "word"), [("", Word.L4OK), ("yes", Word.L7TOUT)])
def test_silence(loop, receive: str, word: Word) -> None:
    with answering() as (where, _):
        assert probe(where, loop, receive=receive, timeout=0.05).word is word


def test_octets() -> None:
    assert octets("hex:00 ff") == b"\x00\xff"
    assert octets("é\0") == b"\xc3\xa9\0"
