"""The PROXY protocol on the wire: received and sent, over HTTP and TCP, with HAProxy on either side."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlb.engine.proxy_protocol import compose, parse
from tests.helpers import Program, free_port, need

from .balancer import Balancer, Balancers
from .test_tls import certificate, connect
from .wire import Origin, Wire

CLIENT, REACHED = ("203.0.113.9", 4711), ("198.51.100.1", 8443)
V1 = compose(1, CLIENT, REACHED)
V2 = compose(2, CLIENT, REACHED, unique_id=b"x", crc32c=True)
SIX = compose(2, ("2001:db8::7", 1), ("2001:db8::8", 2))


def listen(*networks: str) -> dict[str, object]:
    return {"address": f"127.0.0.1:{free_port()}", "proxy_protocol": list(networks or ["127.0.0.0/8"])}


@pytest.fixture(scope="module")
def web(shared_balancer: Balancers, server: Origin) -> Balancer:
    """HTTP behind a proxy; its origin answers what the test says."""
    forwarded = {"x_forwarded_port": True}
    route = {"source": ["203.0.113.0/24"], "path": "/only", "respond": {"status": 203}}
    return shared_balancer(
        server,
        frontend={"listen": [listen()], "forwarded": forwarded, "routes": [route]},
        backend={"pool": {"size": 0}},
        timeouts={"header": "700ms"},
    )


@pytest.mark.parametrize("header", [V1, V2, SIX], ids=["v1", "v2", "six"])
def test_the_client_is_who_the_proxy_says(web: Balancer, server: Origin, header: bytes) -> None:
    told = parse(header)
    assert told is not None
    assert told["source"] is not None
    assert told["destination"] is not None
    target = f"/told-{told['version']}-{told['source'][1]}"
    client = web.dial().send(header).get(target)
    wire, request = server.request()
    assert request.get("x-forwarded-for") == told["source"][0]
    assert request.get("x-forwarded-port") == str(told["destination"][1])
    wire.answer("ok")
    assert client.response().text == "ok"
    assert f"{told['source'][0]}:{told['source'][1]} [" in web.logged(target).line
    client.get("/only")  # a second request of the same client
    if told["source"] == CLIENT:
        assert client.response().status == 203
    else:
        server.request()[0].answer("no")
        assert client.response().text == "no"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_header_in_pieces(web: Balancer, server: Origin, header: bytes) -> None:
    """Byte by byte, and cut once at several places, the request behind it in the same packet or not."""
    server.forget()
    ways = [[header[i : i + 1] for i in range(len(header))]]
    ways += [[header[:cut], header[cut:]] for cut in (1, 5, 12, 16, len(header) - 1)]
    for pieces in ways:
        client = web.dial()
        for piece in pieces[:-1]:
            client.send(piece)
            assert server.untouched()
        client.send(pieces[-1], "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wire, request = server.request()
        assert request.get("x-forwarded-for") == CLIENT[0]
        wire.answer()
        assert client.response().status == 200


def test_local_and_unknown_keep_the_address(web: Balancer, server: Origin) -> None:
    for header in (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"):
        client = web.dial().send(header).get()
        wire, request = server.request()
        assert request.get("x-forwarded-for") == "127.0.0.1"
        wire.answer()
        assert client.response().status == 200


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", V1[:-2] + b"\n", V2[:20] + b"\0" + V2[21:]])
def test_no_header_no_service(web: Balancer, server: Origin, data: bytes) -> None:
    server.forget()
    assert web.dial().send(data).ended() in ("fin", "reset")
    assert server.untouched()


def test_header_in_time(web: Balancer, server: Origin) -> None:
    silent, begun = web.dial(), web.dial().send(V1[:9])
    assert silent.ended() == "fin"
    assert begun.ended() in ("fin", "reset")
    half = web.dial().send(V1[:9]).finish()
    assert half.ended() in ("fin", "reset")


def test_others_are_not_believed(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"listen": [listen("192.0.2.0/24")]})
    client = lb.dial().get("/direct")
    wire, request = origin.request()
    assert request.get("x-forwarded-for") == "127.0.0.1"
    wire.answer()
    assert client.response().status == 200
    assert lb.dial().send(V1).get().response().status == 400


def test_tls_behind_a_header(balancer: Balancers, origin: Origin, tmp_path: Path) -> None:
    certificate(tmp_path, "a", "localhost")
    files = {"cert": str(tmp_path / "a.pem"), "key": str(tmp_path / "a.key")}
    lb = balancer(origin, frontend={"listen": [{**listen(), "tls": files}]})
    with connect(lb, before=V2) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wire, request = origin.request()
        assert (request.get("x-forwarded-for"), request.get("x-forwarded-proto")) == (CLIENT[0], "https")
        wire.answer("ok")
        assert client.recv(100).startswith(b"HTTP/1.1 200")


# --- sent


def header(wire: Wire) -> tuple[int, tuple[str, int] | None, tuple[str, int] | None]:
    """The PROXY header that a connection begins with."""
    raw = wire.exactly(1)
    if raw == b"P":
        raw += wire.until(b"\n")
    else:
        raw += wire.exactly(15)
        raw += wire.exactly(int.from_bytes(raw[14:16]))
    got = parse(raw)
    assert got is not None
    return got["version"], got["source"], got["destination"]


@pytest.mark.parametrize("version", [1, 2])
def test_sent_over_tcp(balancer: Balancers, origin: Origin, version: int) -> None:
    """And one that was received goes on, ends and all."""
    tcp = {"mode": "tcp"}
    lb = balancer(
        origin,
        frontend={**tcp, "listen": [listen("127.0.0.2")]},
        backend={**tcp, "send_proxy": f"v{version}", "proxy_tlvs": ["unique_id", "crc32c"]},
    )
    client = lb.dial().send("payload")
    wire = origin.accept()
    assert header(wire) == (version, client.sock.getsockname(), lb.address)
    assert wire.exactly(7) == b"payload"
    client = lb.dial(source="127.0.0.2").send(V1, "more")
    wire = origin.accept()
    assert header(wire) == (version, CLIENT, REACHED)
    assert wire.exactly(4) == b"more"


def test_sent_over_http_once_a_connection(balancer: Balancers, origin: Origin) -> None:
    """A connection that speaks for one client is kept for it, and for nobody else."""
    lb = balancer(origin, backend={"send_proxy": "v2"})
    client, other = lb.dial().get("/1"), lb.dial()
    wire = origin.accept()
    assert header(wire) == (2, client.sock.getsockname(), lb.address)
    assert wire.request().target == "/1"
    wire.answer("1")
    assert client.response().text == "1"
    other.get("/2")
    second = origin.accept()
    assert header(second) == (2, other.sock.getsockname(), lb.address)
    assert second.request().target == "/2"
    second.answer("2")
    assert other.response().text == "2"
    client.get("/3")
    assert wire.request().target == "/3"
    wire.answer("3")
    assert client.response().text == "3"


def test_sent_again_to_another_server(balancer: Balancers, origin: Origin) -> None:
    gone = Origin()
    gone.shut()
    lb = balancer(gone, origin, backend={"send_proxy": "v1", "balance": "first"})
    client = lb.dial().get("/")
    wire = origin.accept()
    assert header(wire)[1] == client.sock.getsockname()
    wire.request()
    wire.answer("ok")
    assert client.response().text == "ok"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_checks_begin_with_a_header(balancer: Balancers, version: str) -> None:
    origin = Origin()
    check = {"type": "http", "interval": "100ms", "fall": 1}
    balancer(origin, backend={"send_proxy": version, "health_check": check})
    wire = origin.accept()
    assert header(wire)[1] is None
    assert wire.request().target == "/"
    wire.answer("ok")


# --- with HAProxy

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend receives
    bind 127.0.0.1:{receives} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst_port] %[fc_pp_authority]"
frontend sends
    bind 127.0.0.1:{sends}
    use_backend %[path,regsub(/,)]
backend v1
    server s 127.0.0.1:{fastlb} send-proxy
backend v2
    server s 127.0.0.1:{fastlb} send-proxy-v2 proxy-v2-options crc32c,unique-id
"""


def test_haproxy_on_both_sides(balancer: Balancers, start: Callable[..., Program], tmp_path: Path) -> None:
    """client - HAProxy - fastlb - HAProxy: the last one knows the first one's address."""
    ports = {name: free_port() for name in ("receives", "sends", "fastlb")}
    file = tmp_path / "haproxy.cfg"
    file.write_text(HAPROXY.format(**ports))
    start([need("haproxy"), "-db", "-f", file]).wait_port(("127.0.0.1", ports["sends"]))
    for version in ("v1", "v2"):
        lb = balancer(
            f"127.0.0.1:{ports['receives']}",
            frontend={"listen": [{**listen(), "address": f"127.0.0.1:{ports['fastlb']}"}]},
            backend={"send_proxy": version, "proxy_tlvs": ["crc32c", "unique_id"]},
        )
        for sent in ("v1", "v2"):
            with Wire(socket.create_connection(("127.0.0.1", ports["sends"]))) as client:
                host, port = client.sock.getsockname()
                told = client.get(f"/{sent}").response().text
                assert told == f"{host}:{port} {ports['sends']} "
        lb.stop()
