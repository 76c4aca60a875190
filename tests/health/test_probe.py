"""One health check: every way it can end, in HAProxy's words."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
import uvloop

from fastlb.health.probe import Probe, request_of
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, HealthCheck
from fastlb.testing import Close, Hang, Origin, Reset, Send, Trickle, head, interim, respond

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
CHECK = HealthCheck(path="/health", timeout=5.0)


def probe(target, check: HealthCheck = CHECK, loop=asyncio.new_event_loop) -> Verdict:
    async def main() -> Verdict:
        running = asyncio.get_running_loop()
        result: asyncio.Future[Verdict] = running.create_future()
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        one = Probe(running, check, (int(family), target), request_of(check, Address("app", 80)), result.set_result)
        verdict = await result
        assert one._sock is None, "a descriptor is left"
        return verdict

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def closed_port() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()


@LOOPS
def test_good_answer(loop) -> None:
    with Origin(respond("fine", 204)) as origin:
        verdict = probe(origin.address, loop=loop)
        assert (verdict.word, verdict.code, verdict.good) == (Word.L7OK, 204, True)
        request = origin.wait_requests(1)[0]
        assert request.start == "GET /health HTTP/1.1"
        assert request.header("host") == "app:80"
        assert request.header("connection") == "close"
        assert (request.header("user-agent") or "").startswith("fastlb/")
        origin.wait_closed()


@LOOPS
def test_tcp_check_only_connects(loop) -> None:
    with Origin() as origin:
        verdict = probe(origin.address, replace(CHECK, type="tcp"), loop)
        assert (verdict.word, verdict.good) == (Word.L4OK, True)
        origin.wait_connections(1)
        origin.wait_closed()
        assert origin.requests == []


@LOOPS
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_refused(loop, kind: str) -> None:
    verdict = probe(closed_port(), replace(CHECK, type=kind), loop)
    assert (verdict.word, verdict.info, verdict.good) == (Word.L4CON, "Connection refused", False)
    assert verdict.conclusive


@LOOPS
def test_connect_timeout(loop) -> None:
    """A listener whose queue is full answers no SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            verdict = probe(full.getsockname(), replace(CHECK, timeout=0.2), loop)
        finally:
            for sock in waiting:
                sock.close()
    assert (verdict.word, verdict.info) == (Word.L4TOUT, "no connection within 0.2 s")
    assert 0.19 <= verdict.duration < 5


@LOOPS
def test_answer_timeout(loop) -> None:
    with Origin([Send(b"HTTP/1.1 200 OK\r\nContent-"), Hang()]) as origin:
        verdict = probe(origin.address, replace(CHECK, timeout=0.2), loop)
        assert (verdict.word, verdict.info) == (Word.L7TOUT, "no response within 0.2 s")
        origin.wait_closed()


@pytest.mark.parametrize(
    ("expect", "status", "word"),
    [
        (((200, 399),), 399, Word.L7OK),
        (((200, 399),), 400, Word.L7STS),
        (((200, 399),), 503, Word.L7STS),
        (((200, 200), (418, 418)), 418, Word.L7OK),
        (((200, 200), (418, 418)), 201, Word.L7STS),
    ],
)
def test_expected_statuses(expect, status: int, word: Word) -> None:
    with Origin(respond("x", status)) as origin:
        verdict = probe(origin.address, replace(CHECK, expect=expect))
        assert (verdict.word, verdict.code) == (word, status)
        assert verdict.info == ("" if word is Word.L7OK else f"status {status}")


@pytest.mark.parametrize(
    ("script", "info"),
    [
        ([Close()], "closed without a word"),
        ([Send(b"HTTP/1.1 200 OK\r\n"), Close()], "closed before the end"),
        ([Send(b"HTTP/1.1 200 OK\r\nA: b\r\n"), Reset()], ""),
        ([Send(b"SSH-2.0-OpenSSH_9\r\n")], ""),
        ([Send(b"HTTP/1.1 xyz OK\r\n\r\n")], ""),
        ([Send(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000), Hang()], "no end of the response head"),
    ],
)
def test_malformed_answers(script, info: str) -> None:
    with Origin(script) as origin:
        verdict = probe(origin.address)
        assert verdict.word is Word.L7RSP
        assert info in verdict.info
        assert verdict.info


def test_answer_in_pieces_after_interim_ones() -> None:
    with Origin([interim(100), interim(103), Trickle(head(200, [("Content-Length", "0")]))]) as origin:
        assert probe(origin.address).word is Word.L7OK


def test_an_endless_body_is_not_waited_for() -> None:
    with Origin([Send(head(200, [("Transfer-Encoding", "chunked")])), Hang()]) as origin:
        assert probe(origin.address).word is Word.L7OK


def test_upgrade_answer_is_a_status() -> None:
    with Origin([Send(head(101, [("Upgrade", "x"), ("Connection", "upgrade")])), Hang()]) as origin:
        assert probe(origin.address).word is Word.L7STS


def test_unix_socket(tmp_path) -> None:
    with Origin(address=str(tmp_path / "o.sock")) as origin:
        assert probe(origin.address).word is Word.L7OK
    assert probe(str(tmp_path / "none.sock")).word is Word.L4CON


def test_ipv6() -> None:
    with Origin(address=("::1", 0)) as origin:
        assert probe(origin.address).word is Word.L7OK


@pytest.mark.parametrize(
    ("check", "address", "line"),
    [
        (HealthCheck(), Address("a", 81), b"GET / HTTP/1.1\r\nHost: a:81\r\n"),
        (
            HealthCheck(method="HEAD", path="/x?y", host="site"),
            Address("a", 81),
            b"HEAD /x?y HTTP/1.1\r\nHost: site\r\n",
        ),
        (HealthCheck(), Address("::1", 81), b"GET / HTTP/1.1\r\nHost: [::1]:81\r\n"),
        (HealthCheck(), Address(path="/run/x"), b"GET / HTTP/1.1\r\nHost: localhost\r\n"),
    ],
)
def test_request(check: HealthCheck, address: Address, line: bytes) -> None:
    raw = request_of(check, address)
    assert raw.startswith(line)
    assert raw.endswith(b"\r\n\r\n")


def test_no_descriptor_left_is_not_the_servers_fault(monkeypatch) -> None:
    with Origin() as origin:

        def none_left(*args, **kwargs):
            raise OSError(24, "Too many open files")

        async def main() -> Verdict:
            loop = asyncio.get_running_loop()
            result: asyncio.Future[Verdict] = loop.create_future()
            with monkeypatch.context() as patch:
                patch.setattr(socket, "socket", none_left)
                Probe(loop, CHECK, (int(socket.AF_INET), origin.address), b"", result.set_result)
            return await result

        verdict = asyncio.run(main())
    assert (verdict.word, verdict.info, verdict.conclusive) == (Word.SOCKERR, "Too many open files", False)


def test_cancelled_check_says_nothing() -> None:
    with Origin([Hang()]) as origin:

        async def main() -> None:
            loop = asyncio.get_running_loop()
            said: list[Verdict] = []
            one = Probe(
                loop, CHECK, (int(socket.AF_INET), origin.address), request_of(CHECK, Address("a", 1)), said.append
            )
            await asyncio.to_thread(origin.wait_requests, 1)
            one.cancel()
            one.cancel()
            await asyncio.to_thread(origin.wait_closed)
            assert said == []

        asyncio.run(main())
