"""The test bench does what it says: origin, client and proxy, against each other."""

from __future__ import annotations

import socket
import threading

import pytest

from fastlb.testing import (
    Close,
    ConnectionEnded,
    Delay,
    FaultyProxy,
    HalfClose,
    Hang,
    Origin,
    RawClient,
    Reset,
    Send,
    Trickle,
    WaitFor,
    by_path,
    chunked,
    echo,
    head,
    in_turn,
    interim,
    respond,
)


def get(address, target: str = "/"):
    with RawClient(address) as client:
        return client.get(target)


def test_plain_response_and_what_was_received() -> None:
    with Origin(respond(b"hello", headers=[("X-A", "1")])) as origin, RawClient(origin.address) as client:
        first = client.get("/one?q", [("X-B", "2"), ("x-b", "3")])
        assert (first.status, first.reason, first.body, first.header("x-a")) == (200, "OK", b"hello", "1")
        assert client.get("/two").body == b"hello"  # the connection is kept
        one, two = origin.requests
        assert (one.method, one.target, one.path, one.all("X-B")) == ("GET", "/one?q", "/one", ["2", "3"])
        assert one.raw_head == b"GET /one?q HTTP/1.1\r\nHost: test\r\nX-B: 2\r\nx-b: 3\r\n\r\n"
        assert (one.connection, two.connection, origin.connections) == (0, 0, 1)


def test_bodies_of_both_framings() -> None:
    with Origin(echo) as origin, RawClient(origin.address) as client:
        assert client.request("POST", "/", body=b"x" * 100_000).body == b"x" * 100_000
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.trickle("3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n", size=1)
        assert client.response().body == b"abcde"
        assert origin.requests[1].trailers == [("X-T", "1")]


def test_chunked_response_with_trailers() -> None:
    with Origin(chunked(b"abc", b"defg", trailers=[("X-T", "9")])) as origin:
        response = get(origin.address)
        assert (response.body, response.trailers) == (b"abcdefg", [("X-T", "9")])


def test_response_until_close() -> None:
    with Origin([Send(head(200)), Send(b"to the end"), Close()]) as origin:
        assert get(origin.address).body == b"to the end"


def test_interim_responses_come_with_the_final_one() -> None:
    with Origin([interim(103, [("Link", "</a>")]), *respond(b"x")]) as origin:
        response = get(origin.address)
        assert [i.status for i in response.interim] == [103]
        assert response.interim[0].header("link") == "</a>"


def test_expectation_is_met() -> None:
    with Origin(echo) as origin, RawClient(origin.address) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send("hi")
        assert client.response().body == b"hi"


def test_pipelined_requests_are_answered_in_order() -> None:
    with Origin(echo) as origin, RawClient(origin.address) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5)))
        assert [client.response().header("x-head") for _ in range(5)] == [f"GET /{n} HTTP/1.1" for n in range(5)]


def test_head_request_has_no_body() -> None:
    with Origin([Send(head(200, [("Content-Length", "10")]))]) as origin, RawClient(origin.address) as client:
        assert client.request("HEAD", "/").body == b""
        assert client.request("HEAD", "/").status == 200


def test_scripts_by_path_and_in_turn() -> None:
    script = by_path({"/a": in_turn(respond("1"), respond("2")), "/b": respond("b")})
    with Origin(script) as origin:
        assert [get(origin.address, p).body for p in ("/a", "/b?x", "/a", "/a")] == [b"1", b"b", b"2", b"2"]
        assert get(origin.address, "/c").status == 404


def test_reset_close_and_half_close() -> None:
    script = by_path({
        "/reset": [Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Delay(0.05), Reset()],
        "/close": [Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Close()],
        "/half": [*respond("x"), HalfClose(), Hang()],
    })  # fmt: skip
    with Origin(script) as origin:
        with pytest.raises(ConnectionEnded) as caught:
            get(origin.address, "/reset")
        assert (caught.value.received, caught.value.was_reset) == (b"abc", True)
        with pytest.raises(ConnectionEnded) as caught:
            get(origin.address, "/close")
        assert (caught.value.received, caught.value.was_reset) == (b"abc", False)
        with RawClient(origin.address) as client:
            assert client.get("/half").body == b"x"
            assert client.at_end()
            assert origin.open_connections == 1
        origin.wait_closed()


def test_connection_scripts_come_before_any_request() -> None:
    with Origin(on_connect=[Send(b"garbage"), Close()]) as origin, RawClient(origin.address) as client:
        assert client.read_all() == b"garbage"
        assert not client.was_reset
    with Origin(on_connect=[Reset()]) as origin, pytest.raises((ConnectionEnded, OSError)):
        get(origin.address)


def test_waiting_for_an_event() -> None:
    go = threading.Event()
    with Origin([WaitFor(go), *respond("late")]) as origin, RawClient(origin.address) as client:
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        origin.wait_requests(1)
        assert client.is_quiet(0.1)
        go.set()
        assert client.response().body == b"late"


def test_trickle_sends_every_byte() -> None:
    raw = head(200, [("Content-Length", "5")]) + b"abcde"
    with Origin([Trickle(raw)]) as origin:
        assert get(origin.address).body == b"abcde"


def test_origin_can_refuse_and_return() -> None:
    with Origin() as origin:
        with RawClient(origin.address) as client:
            assert client.get("/").body == b"ok"
            origin.refuse()
            assert client.at_end()
        with pytest.raises(ConnectionRefusedError):
            get(origin.address)
        before = origin.address
        origin.listen()
        assert origin.address == before
        assert get(origin.address).body == b"ok"


def test_unix_socket(tmp_path) -> None:
    with Origin(address=str(tmp_path / "o.sock")) as origin:
        assert origin.name == f"unix:{tmp_path / 'o.sock'}"
        assert get(origin.address).body == b"ok"


def test_missing_requests_are_an_error() -> None:
    with Origin() as origin, pytest.raises(AssertionError, match="0 of 1 requests"):
        origin.wait_requests(1, timeout=0.05)


def test_client_reset_is_seen_by_the_origin() -> None:
    with Origin(read_body=False) as origin:
        with RawClient(origin.address) as client:
            client.send("GET / HTTP/1.1\r\n")
            origin.wait_connections(1)
            client.reset()
        origin.wait_closed()
        assert origin.requests == []


def test_cut_request_body_is_marked() -> None:
    with Origin() as origin:
        with RawClient(origin.address) as client:
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
            origin.wait_bytes(51)
        origin.wait_closed()
        assert (origin.requests[0].complete, origin.requests[0].body) == (False, b"abc")


def test_proxy_forwards_faithfully() -> None:
    with Origin(echo) as origin, FaultyProxy(origin.address) as proxy, RawClient(proxy.address) as client:
        assert client.request("POST", "/", body=b"y" * 300_000).body == b"y" * 300_000
        proxy.piece = 7
        assert client.request("POST", "/", body=b"z" * 3000).body == b"z" * 3000


@pytest.mark.parametrize("at", [0, 1, 20, 60])
def test_proxy_cuts_after_so_many_bytes(at: int) -> None:
    with Origin(respond(b"x" * 100)) as origin, FaultyProxy(origin.address) as proxy:
        proxy.cut_down = at
        with RawClient(proxy.address) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert len(client.read_all()) <= at  # a reset may throw away what was not read yet
            assert client.was_reset
        origin.wait_closed()


def test_proxy_cuts_the_way_up() -> None:
    with Origin() as origin, FaultyProxy(origin.address) as proxy:
        proxy.cut_up = 10
        with RawClient(proxy.address) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_all() == b""
        origin.wait_closed()
        assert origin.requests == []


def test_proxy_stalls_and_goes_on() -> None:
    with Origin() as origin, FaultyProxy(origin.address) as proxy, RawClient(proxy.address) as client:
        assert client.get("/").status == 200
        proxy.stalled = True
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.is_quiet(0.1)
        proxy.stalled = False
        assert client.response().body == b"ok"


@pytest.mark.parametrize("with_reset", [True, False])
def test_proxy_cuts_all_now(with_reset: bool) -> None:
    with Origin() as origin, FaultyProxy(origin.address) as proxy:
        with RawClient(proxy.address) as one, RawClient(proxy.address) as two:
            assert one.get("/").status == two.get("/").status == 200
            assert proxy.cut_all(with_reset=with_reset) == 2
            assert one.at_end()
            assert two.at_end()
            assert (one.was_reset, two.was_reset) == (with_reset, with_reset)
        origin.wait_closed()


def test_proxy_refuses() -> None:
    with Origin() as origin, FaultyProxy(origin.address) as proxy:
        proxy.refusing = True
        with pytest.raises((ConnectionEnded, OSError)):  # the reset may come before connect() returns
            get(proxy.address)
        proxy.wait_connections(1)
        assert origin.connections == 0


def test_proxy_without_a_target_resets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = unused.getsockname()
    with FaultyProxy(target) as proxy, pytest.raises((ConnectionEnded, ConnectionResetError)):
        get(proxy.address)
