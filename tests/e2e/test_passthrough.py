"""TLS passed through to the server that the ClientHello names, without being ended here."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.test_client_hello import FULL, hello, records
from tests.helpers import need

from .balancer import Balancer, Balancers
from .test_tcp import TCP, line
from .test_tls import certificate
from .wire import Origin

NAMES = ("one", "two", "h2")


class TlsServer:
    """Ends TLS with a certificate of its own and answers every connection with its name."""

    def __init__(self, folder: Path, name: str) -> None:
        certificate(folder, name, f"{name}.test", f"*.{name}.test")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n{name}".encode()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(10)
            try:
                with self._context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(self._answer)
            except OSError:
                pass  # the client did not like the certificate

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("passthrough")


@pytest.fixture(scope="module")
def passing(shared_balancer: Balancers, server: Origin, folder: Path) -> Iterator[Balancer]:
    """Routes by name and by protocol; what no route takes goes to the origin that the test plays."""
    servers = {name: TlsServer(folder, name) for name in NAMES}
    routes = [
        {"name": "acme", "alpn": ["acme-tls/1"], "backend": "h2"},
        {"name": "one", "sni": ["one.test", "*.one.test"], "backend": "one"},
        {"name": "two", "sni": "two.test", "backend": "two"},
    ]
    yield shared_balancer(
        server,
        frontend={**TCP, "routes": routes},
        backend=TCP,
        backends={name: {**TCP, "servers": [one.address]} for name, one in servers.items()},
        timeouts={"header": "700ms"},
        log={"format": "json"},
    )
    for one in servers.values():
        one.close()


@pytest.mark.parametrize(("name", "to"), [("one.test", "one"), ("deep.x.one.test", "one"), ("TWO.test", "two")])
def test_curl_by_name(passing: Balancer, folder: Path, name: str, to: str) -> None:
    """Verified against the certificate of the server alone: it is the server that ends TLS."""
    where = f"{name}:{passing.ports['web']}:127.0.0.1"
    check = ["--cacert", folder / f"{to}.pem"] if "deep" not in name else ["--insecure"]
    got = subprocess.run(
        [need("curl"), "-sS", "--http1.1", *check, "--connect-to", f"{name}::127.0.0.1:{passing.ports['web']}",
         "--resolve", where, f"https://{name}:{passing.ports['web']}/"],
        capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert got.stdout == to.encode(), got.stderr
    passing.program.wait_line(rf'"backend":"{to}".*"sni":"{name.lower()}"')


def test_openssl_by_protocol(passing: Balancer) -> None:
    got = subprocess.run(
        [need("openssl"), "s_client", "-connect", f"127.0.0.1:{passing.ports['web']}", "-servername", "one.test",
         "-alpn", "acme-tls/1,h2"],
        input=b"x", capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert b"CN = h2.test" in got.stdout
    assert b"ALPN protocol: h2" in got.stdout


def test_hello_in_pieces_arrives_as_it_came(passing: Balancer, server: Origin) -> None:
    """Over packets and records, to the server that no route is for; the answer goes back."""
    crumbs = records(FULL[5:], 1, 2, 3, 200)
    for data in (FULL, crumbs):
        server.forget()
        client = passing.dial()
        for at in range(0, len(data) - 1, 97):
            client.send(data[at : min(at + 97, len(data) - 1)])
            assert server.untouched()
        client.send(data[-1:], "and more")
        wire = server.accept()
        assert wire.exactly(len(data) + 8) == data + b"and more"
        wire.send("alert")
        assert client.exactly(5) == b"alert"


def test_what_is_no_hello_takes_no_named_route(passing: Balancer, server: Origin) -> None:
    for data in (b"SSH-2.0-client\r\n", b"\x16\3\1\0\0", hello(None)):
        server.forget()
        passing.dial().send(data)
        assert server.accept().exactly(len(data)) == data
    server.forget()
    passing.dial().send(FULL[:50]).finish()  # all that it ever says
    assert server.accept().rest() == FULL[:50]


def test_hello_in_time(passing: Balancer, server: Origin) -> None:
    server.forget()
    begun, silent = passing.dial().send(FULL[:50]), passing.dial()
    assert begun.ended() == "fin"
    assert silent.ended() == "fin"
    passing.program.wait_line('"termination":"cR--"')
    assert server.untouched()


def test_no_route_and_no_backend(balancer: Balancers, origin: Origin) -> None:
    """Then the connection ends. The server that is told gets the name in its header."""
    routes = [{"sni": "www.example.com", "backend": "app"}]
    backend = {**TCP, "send_proxy": "v2", "proxy_tlvs": ["authority", "alpn"]}
    lb = balancer(origin, frontend={**TCP, "routes": routes, "backend": ""}, backend=backend)
    lb.dial().send(FULL)
    got = origin.accept().exactly(16 + 12 + 18 + 5)
    assert b"www.Example.com" in got
    assert b"\x01\0\2h2" in got
    start = len(lb.program.lines)
    assert lb.dial().send(hello("other.test")).ended() in ("fin", "reset")
    assert line(lb, start)["term"] == "PR"
