"""One health check: every way it can end, in HAProxy's words."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
import uvloop

from fastlb.health.http_probe import HttpProbe, request_of
from fastlb.health.plan import plan_of
from fastlb.health.probe import SocketProbe
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, Backend, HealthCheck, Server
from fastlb.testing import Close, Hang, Origin, Reset, Send, Trickle, chunked, head, interim, respond

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
CHECK = HealthCheck(path="/health", timeout=5.0)


def probe(target, check: HealthCheck = CHECK, loop=asyncio.new_event_loop) -> Verdict:
    async def main() -> Verdict:
        running = asyncio.get_running_loop()
        result: asyncio.Future[Verdict] = running.create_future()
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        server = Server("one", Address("app", 80), resolved=((int(family), target),))
        one = plan_of(Backend("app", (server,)), server, check).begin(running, result.set_result)
        verdict = await result
        assert not isinstance(one, SocketProbe) or one._sock is None, "a descriptor is left"
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
        (
            HealthCheck(headers=(("host", "other"), ("X-Check", "1"))),
            Address("a", 81),
            b"GET / HTTP/1.1\r\nhost: other\r\nUser-Agent: ",
        ),
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
                HttpProbe(loop, result.set_result, (int(socket.AF_INET), origin.address), CHECK, b"")
            return await result

        verdict = asyncio.run(main())
    assert (verdict.word, verdict.info, verdict.conclusive) == (Word.SOCKERR, "Too many open files", False)


def test_cancelled_check_says_nothing() -> None:
    with Origin([Hang()]) as origin:

        async def main() -> None:
            loop = asyncio.get_running_loop()
            said: list[Verdict] = []
            target = (int(socket.AF_INET), origin.address)
            one = HttpProbe(loop, said.append, target, CHECK, request_of(CHECK, Address("a", 1)))
            await asyncio.to_thread(origin.wait_requests, 1)
            one.cancel()
            one.cancel()
            await asyncio.to_thread(origin.wait_closed)
            assert said == []

        asyncio.run(main())


@pytest.mark.parametrize(
    ("check", "script", "word"),
    [
        ({"body": "fine."}, respond("all is fine."), Word.L7OK),
        ({"body": "fine."}, respond("all is fine"), Word.L7RSP),  # a dot is a dot
        ({"body_regex": "^ok|fine$"}, respond("all is fine"), Word.L7OK),
        ({"body_regex": "^ok|fine$"}, respond("not ok"), Word.L7RSP),
        ({"body": "gut \u00e4"}, respond("alles gut \u00e4h"), Word.L7OK),
        ({"body": "two"}, chunked(b"one t", b"wo three"), Word.L7OK),
        ({"body": "four"}, chunked(b"one", b"two"), Word.L7RSP),
        ({"body": "x"}, respond("x", 500), Word.L7STS),
        ({"body": "x"}, respond("", 204), Word.L7RSP),
        # until the end of the connection, or without waiting for it
        ({"body": "end"}, [Send(b"HTTP/1.1 200 OK\r\n\r\nto the end"), Close()], Word.L7OK),
        ({"body": "begin"}, [Send(b"HTTP/1.1 200 OK\r\n\r\nbegin"), Hang()], Word.L7OK),
        ({"body": "never"}, [Send(b"HTTP/1.1 200 OK\r\n\r\nbegin"), Close()], Word.L7RSP),
        ({"body": "late"}, [Send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000 + b"late"), Hang()], Word.L7RSP),
    ],
)
def test_the_body(check: dict, script, word: Word) -> None:
    with Origin(script) as origin:
        assert probe(origin.address, replace(CHECK, **check)).word is word
        origin.wait_closed()


@LOOPS
@pytest.mark.parametrize(
    ("send", "receive", "greeting", "word"),
    [
        ("", "220 ", b"220 mail ready\r\n", Word.L7OK),
        ("", "220 ", b"554 no\r\n", Word.L7RSP),
        ("PING\r\n", "", b"", Word.L7OK),
        ("PING\r\n", "+PONG", b"-ERR", Word.L7RSP),
        ("PING\r\n", "+PONG", b"+PONG\r\n", Word.L7OK),
        ("", "x", b"", Word.L7RSP),
    ],
)
def test_text_over_tcp(loop, send: str, receive: str, greeting: bytes, word: Word) -> None:
    said: list[bytes] = []

    async def main() -> Verdict:
        async def serve(reader, writer) -> None:
            if send:
                said.append(await reader.readline())
            writer.write(greeting)
            await writer.drain()
            writer.close()

        running = asyncio.get_running_loop()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            where = listening.sockets[0].getsockname()
            check = replace(CHECK, type="tcp", send=send, receive=receive)
            result: asyncio.Future[Verdict] = running.create_future()
            server = Server("one", Address(*where), resolved=((2, where),))
            plan_of(Backend("app", (server,)), server, check).begin(running, result.set_result)
            return await result

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(main()).word is word
    if send and receive:
        assert said == [send.encode()]
