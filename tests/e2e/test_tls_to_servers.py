"""TLS to servers: verification, names, client certificates, sessions, handshakes that fail, health checks."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, pem
from tests.helpers import free_port, wait_until

from .balancer import Balancer, Balancers
from .wire import Origin


class SecureServer:
    """Answers every request over TLS with `name`; remembers what clients showed."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self.name = name
        self.names: list[str | None] = []
        self.reused: list[bool] = []
        self.clients: list[str] = []
        self.bodies: list[int] = []
        self.protocols: list[str | None] = []
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.sni_callback = lambda _s, asked, _c: self.names.append(asked)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as s:
            self.reused.append(bool(s.session_reused))
            self.protocols.append(s.selected_alpn_protocol())
            shown = s.getpeercert()
            self.clients.append(str(shown["subject"][0][0][1]) if shown else "")  # type: ignore[index]
            with s.makefile("rwb") as stream:
                while line := stream.readline():
                    length = 0
                    while (field := stream.readline()) not in (b"\r\n", b""):
                        if field.lower().startswith(b"content-length:"):
                            length = int(field.partition(b":")[2])
                    self.bodies.append(len(stream.read(length)))
                    close = line.startswith(b"GET /close")
                    head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n"
                    stream.write((head % (len(self.name), "Connection: close\r\n" if close else "")).encode())
                    stream.write(self.name.encode())
                    stream.flush()
                    if close:
                        return

    def shut(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    one = Authority("Servers' Authority")
    (folder / "ca.pem").write_bytes(pem(one.certificate))
    one.issue(folder / "server.pem", "app.test", "127.0.0.1")
    one.issue(folder / "client.pem", "balancer", common_name="balancer", key_file=folder / "client.key")
    Authority("Stranger").issue(folder / "strange.pem", "app.test")
    return one


Make = Callable[..., SecureServer]


@pytest.fixture(scope="module")
def server(folder: Path, authority: Authority) -> Iterator[Make]:
    made: list[SecureServer] = []

    def make(name: str, cert: str = "server.pem", *, client: bool = False) -> SecureServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / cert)
        if client:
            context.load_verify_locations(folder / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        made.append(SecureServer(context, name))
        return made[-1]

    yield make
    for one in made:
        one.shut()


def backend(*servers: str, ca: Path, **tls: Any) -> dict[str, Any]:
    return {"servers": list(servers), "tls": {"ca": str(ca), **tls}, "balance": "round_robin", "outlier": False}


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, server: Make, folder: Path) -> tuple[Balancer, dict[str, SecureServer]]:
    there = {
        "good": server("good"),
        "asks": server("asks", client=True),
        "strange": server("strange", "strange.pem"),
        "named": server("named"),
    }
    plain = Origin()  # speaks no TLS
    ca = folder / "ca.pem"
    backends = {
        "good": backend(there["good"].address, ca=ca),
        "asks": backend(there["asks"].address, ca=ca, cert=str(folder / "client.pem"), key=str(folder / "client.key")),
        "strange": backend(there["strange"].address, ca=ca, server_name="app.test"),
        "wrong": backend(there["named"].address, ca=ca, server_name="other.test"),
        "named": backend(there["named"].address, ca=ca, server_name="app.test"),
        "trusting": backend(there["strange"].address, ca=ca, verify=False) | {"tls": {"verify": False}},
        "second": backend(there["strange"].address, there["named"].address, ca=ca, server_name="app.test"),
        "plain": backend(plain.address, ca=ca) | {"retries": 0, "timeouts": {"connect": "300ms"}},
    }
    routes = [{"path": f"/{name}/*", "backend": name} for name in backends]
    routes += [{"path": "/close/*", "backend": "good"}]
    found = shared_balancer(frontend={"listen": f"127.0.0.1:{free_port()}", "routes": routes}, backends=backends)
    return found, there


def ask(lb: Balancer, path: str) -> tuple[int, str]:
    with lb.dial() as client:
        answer = client.get(path).response()
        return answer.status, answer.text


def test_requests_go_over_tls(lb: tuple[Balancer, dict[str, SecureServer]]) -> None:
    balancer, there = lb
    assert ask(balancer, "/good/") == (200, "good")
    assert ask(balancer, "/named/") == (200, "named")
    assert "app.test" in there["named"].names
    assert set(there["named"].protocols) == {"http/1.1"}
    body = b"x" * 300_000
    with balancer.dial() as client:
        answer = client.post("/good/up", body).response()
        assert (answer.status, answer.text) == (200, "good")
    assert there["good"].bodies[-1] == len(body)


def test_connections_are_kept_and_sessions_resumed(lb: tuple[Balancer, dict[str, SecureServer]]) -> None:
    balancer, there = lb
    ask(balancer, "/good/")
    count = len(there["good"].reused)
    for _ in range(5):
        assert ask(balancer, "/good/") == (200, "good")
    assert len(there["good"].reused) == count  # no further handshake
    for _ in range(4):
        assert ask(balancer, "/close/good") == (200, "good")
    assert ask(balancer, "/good/") == (200, "good")
    wait_until(lambda: all(there["good"].reused[-3:]), what="resumed sessions")


def test_a_client_certificate_is_shown(lb: tuple[Balancer, dict[str, SecureServer]]) -> None:
    balancer, there = lb
    assert ask(balancer, "/asks/") == (200, "asks")
    assert there["asks"].clients[-1] == "balancer"


@pytest.mark.parametrize("name", ["strange", "wrong", "plain"])
def test_who_cannot_be_verified_gets_nothing(lb: tuple[Balancer, dict[str, SecureServer]], name: str) -> None:
    balancer, _ = lb
    assert ask(balancer, f"/{name}/")[0] == 503
    assert balancer.logged(f"GET /{name}/").term.startswith(("SC", "sC"))


def test_without_verification(lb: tuple[Balancer, dict[str, SecureServer]]) -> None:
    assert ask(lb[0], "/trusting/") == (200, "strange")


def test_a_failed_handshake_is_tried_elsewhere(lb: tuple[Balancer, dict[str, SecureServer]]) -> None:
    for _ in range(4):
        assert ask(lb[0], "/second/") == (200, "named")


def test_checks_speak_it_too(balancer: Balancers, server: Make, folder: Path) -> None:
    good, strange = server("good"), server("strange", "strange.pem")
    check = {"path": "/", "interval": "100ms", "fall": 1, "initial": "down", "rise": 1}
    tls = {"ca": str(folder / "ca.pem"), "server_name": "app.test"}
    one = balancer(good.address, strange.address, backend={"tls": tls, "health_check": check, "balance": "round_robin"})
    wait_until(lambda: ask(one, "/")[0] == 200, what="a server that is up")
    assert {ask(one, "/") for _ in range(6)} == {(200, "good")}
