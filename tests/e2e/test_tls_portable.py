"""TLS where libssl cannot be called directly: what works all the same, and what is refused in so many words."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, pem
from tests.helpers import FASTLB, ROOT, Program, free_port

from .balancer import Balancer, Balancers, configuration
from .secure import SecureWire, server_context
from .test_tls_options import OK, get, handshake, names, shown
from .toml import dump
from .wire import PATIENCE, Origin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portable")
    authority = Authority("Portable")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(folder / "a.pem", "a.test")
    authority.issue(folder / "b.pem", "b.test")
    return folder


@pytest.fixture
def lb(balancer: Balancers, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Balancer:
    monkeypatch.setenv("FASTLB_TLS", "portable")
    echo = Echo()
    tls = {"cert": [str(folder / "a.pem"), str(folder / "b.pem")]}

    def listen() -> list[dict[str, Any]]:
        return [{"address": f"127.0.0.1:{free_port()}", "tls": tls}]

    return balancer(
        frontend={"listen": listen(), **OK},
        frontends={"session": {"mode": "tcp", "listen": listen(), "backend": "echo"}},
        backends={"echo": {"mode": "tcp", "servers": [echo.address]}},
    )


class Echo:
    """Says hello and that it has finished, then reads to the end and remembers it."""

    got = b""
    ended = threading.Event()

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{1}".format(*self._listener.getsockname())
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with self._listener:
            s, _ = self._listener.accept()
            with s:
                s.sendall(b"hello")
                s.shutdown(socket.SHUT_WR)
                got = b""
                while data := s.recv(4096):
                    got += data
                Echo.got = got
                Echo.ended.set()


def test_it_serves(lb: Balancer) -> None:
    assert lb.complained("TLS runs without libssl's own calls")
    for name in ("a.test", "b.test"):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with handshake(lb, name=name, maximum_version=version) as s:
                assert names(shown(s)) == [name]
                assert get(s).endswith("ok")
    # The server has said all it has to say, and still hears the client (half-close).
    with handshake(lb, "session") as s:
        assert s.recv(100) == b"hello"
        assert s.recv(100) == b""
        s.sendall(b"late")
        s.unwrap().close()
    assert Echo.ended.wait(PATIENCE)
    assert Echo.got == b"late"


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ({"ciphersuites": ["TLS_AES_256_GCM_SHA384"]}, "tls.ciphersuites"),
        ({"curves": ["X25519", "P-256"]}, "tls.curves"),
        ({"client_auth": "required", "client_ca": "ca.pem", "client_depth": 1}, "tls.client_depth"),
    ],
)
def test_what_it_cannot_do_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("FASTLB_TLS", "portable")
    tls = {key: str(folder / value) if key == "client_ca" else value for key, value in tls.items()}
    listen = {"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(folder / "a.pem"), **tls}}
    file = tmp_path / "fastlb.toml"
    file.write_text(dump(configuration((), frontend={"listen": [listen], **OK})))
    program = Program([*FASTLB, "serve", "-c", file], cwd=ROOT)
    try:
        assert program.wait(30) == 2
        assert told in program.output
    finally:
        program.stop()


def test_half_close_towards_a_server(balancer: Balancers, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's words lie in the memory of TLS already when the client's end is carried across."""
    monkeypatch.setenv("FASTLB_TLS", "portable")
    context = server_context(folder / "a.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the server says the last word of the handshake
    origin, tcp = Origin(), {"mode": "tcp"}
    lb = balancer(origin, frontend=tcp, backend={**tcp, "tls": {"verify": False}})
    client = lb.dial().send("bye").finish()
    wire = SecureWire(origin.accept().sock, context, server=True, words=b"at once")
    assert wire.rest() == b"bye"
    wire.send(", and later").finish()
    assert client.rest() == b"at once, and later"
