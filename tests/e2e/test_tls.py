"""TLS listeners: handshakes, names, bodies, pipelining, ends, and what is no TLS."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers import free_port, need, wait_until

from .balancer import Balancer, Balancers
from .wire import PATIENCE, Origin


def certificate(folder: Path, name: str, *names: str, kind: str = "ec") -> None:
    """A self-signed certificate NAME.pem with NAME.key, made by openssl."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else ["-newkey", "rsa:2048"]
    subject = ",".join(f"DNS:{n}" for n in names)
    subprocess.run(
        [need("openssl"), "req", "-x509", *key, "-nodes", "-days", "2", "-subj", f"/CN={names[0]}",
         "-addext", f"subjectAltName={subject}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two certificates; a.pem is the default."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "a", "localhost")
    certificate(folder, "b", "*.b.test", "b.test", kind="rsa")
    return folder


@pytest.fixture(scope="module")
def secure(shared_balancer: Balancers, server: Origin, certificates: Path) -> Balancer:
    """A balancer whose listener speaks TLS; its origin answers what the test says."""
    listen = {"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(certificates)}}
    return shared_balancer(server, backend={"pool": {"size": 0}}, frontend={"listen": [listen]})


@pytest.fixture
def talk(secure: Balancer) -> Iterator[ssl.SSLSocket]:
    with connect(secure) as one:
        yield one


def connect(balancer: Balancer, name: str = "localhost", *, before: bytes = b"", **options: int) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for key, value in options.items():
        setattr(context, key, value)
    plain = socket.create_connection(balancer.address, timeout=PATIENCE)
    plain.sendall(before)
    return context.wrap_socket(plain, server_hostname=name)


def read_all(s: ssl.SSLSocket) -> bytes:
    got = b""
    while data := s.recv(65536):
        got += data
    return got


def common_name(s: ssl.SSLSocket) -> str:
    der = s.getpeercert(binary_form=True)
    assert der
    text = subprocess.run(
        [need("openssl"), "x509", "-inform", "der", "-noout", "-subject"], input=der, capture_output=True, check=True
    ).stdout.decode()
    return text.rpartition("=")[2].strip()


def test_a_request_arrives_with_its_scheme(talk: ssl.SSLSocket, server: Origin, secure: Balancer) -> None:
    assert (talk.version(), talk.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    talk.sendall(b"GET /tls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    wire = server.accept()
    request = wire.request()
    assert request.target == "/tls"
    assert request.get("x-forwarded-proto") == "https"
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert read_all(talk).endswith(b"\r\n\r\nok")
    assert "web~ app/s0" in secure.logged("GET /tls ").line


@pytest.mark.parametrize(
    ("name", "expected"), [("localhost", "localhost"), ("x.b.test", "*.b.test"), ("other.test", "localhost")]
)
def test_the_server_name_picks_the_certificate(secure: Balancer, name: str, expected: str) -> None:
    with connect(secure, name) as s:
        assert common_name(s) == expected


def test_version_1_2_is_the_least(secure: Balancer) -> None:
    with connect(secure, maximum_version=ssl.TLSVersion.TLSv1_2) as s:
        assert s.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError), connect(secure, minimum_version=ssl.TLSVersion.TLSv1_1,
                                              maximum_version=ssl.TLSVersion.TLSv1_1):  # fmt: skip
        pass


def test_large_bodies_both_ways(talk: ssl.SSLSocket, server: Origin) -> None:
    body = hashlib.sha512(b"seed").digest() * 40_000  # 2.5 MB
    head = b"POST /up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    # The body is more than all buffers between hold: each end needs the other to go on.
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(talk.sendall, head + body)
        wire = server.accept()
        assert wire.request().body == body
        sending.result()
        answering = pool.submit(wire.send, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)
        assert read_all(talk).partition(b"\r\n\r\n")[2] == body
        answering.result()


def test_pipelined_requests_in_one_record(talk: ssl.SSLSocket, server: Origin) -> None:
    talk.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for target in ("/1", "/2"):
        wire = server.accept()
        assert wire.request().target == target
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + target.encode())
    got = read_all(talk)
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert got.endswith(b"/2")


def test_a_head_in_records_of_one_byte(talk: ssl.SSLSocket, server: Origin) -> None:
    for byte in b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":
        talk.sendall(bytes([byte]))
    wire = server.accept()
    assert wire.request().target == "/slow"
    wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert read_all(talk).startswith(b"HTTP/1.1 204")


def test_the_end_is_announced(talk: ssl.SSLSocket, server: Origin) -> None:
    """close_notify comes before the end of the connection, so that a client can tell it from an attack."""
    talk.sendall(b"GET /end HTTP/1.0\r\n\r\n")
    wire = server.accept()
    wire.request()
    wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
    wire.close()
    # The ssl module raises SSLEOFError for an end without close_notify.
    assert read_all(talk).endswith(b"until the end")


@pytest.mark.parametrize("bytes_", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\0" * 4000])
def test_what_is_no_tls_is_closed(secure: Balancer, bytes_: bytes) -> None:
    before = secure.descriptors()
    with socket.create_connection(secure.address, timeout=PATIENCE) as s:
        s.sendall(bytes_)
        try:
            while s.recv(4096):
                pass
        except ConnectionError:
            pass
    secure.settled(before)
    with connect(secure) as s:
        assert s.version()


def test_clients_that_leave_in_the_handshake_leave_nothing(secure: Balancer) -> None:
    before = secure.descriptors()
    for _ in range(50):
        with socket.create_connection(secure.address, timeout=PATIENCE) as s:
            s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    wait_until(lambda: secure.descriptors() <= before, what="the descriptors of clients that left")


def test_a_refused_upload_is_read_away(balancer: Balancers, origin: Origin, certificates: Path) -> None:
    """Closing over unread bytes is answered with a reset, which can destroy the answer on its way."""
    listen = {"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(certificates)}}
    lb = balancer(origin, frontend={"listen": [listen]}, limits={"body": 10})
    with connect(lb) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n" + b"x" * 500_000)
        assert read_all(s).startswith(b"HTTP/1.1 413")
        with socket.socket(fileno=s.detach()) as plain:
            plain.settimeout(PATIENCE)
            assert plain.recv(1) == b""
            for _ in range(20):  # the rest of the upload meets no reset
                plain.sendall(b"x" * 1000)


@pytest.mark.parametrize("goodbye", [False, True])
def test_a_request_together_with_the_end_of_the_handshake(secure: Balancer, server: Origin, goodbye: bool) -> None:
    """The client's Finished, a request and perhaps close_notify in the same bytes: answered, then the end is seen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing)
    with socket.create_connection(secure.address, timeout=PATIENCE) as plain:
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))
        session.write(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        if goodbye:
            with contextlib.suppress(ssl.SSLWantReadError):
                session.unwrap()
        plain.sendall(outgoing.read())
        wire = server.accept()
        assert wire.request().target == "/first"
        wire.answer(b"ok")
        if goodbye:
            while plain.recv(65536):
                pass
        else:
            while True:
                incoming.write(plain.recv(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    assert session.read().endswith(b"ok")
                    break
