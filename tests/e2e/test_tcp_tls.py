"""mode = "tcp" with TLS on either side: verification, names, client certificates, sessions, ends, real programs."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, pem
from tests.helpers import Program, free_port, need

from .balancer import Balancer, Balancers
from .secure import SecureOrigin, SecureWire, client_context, server_context
from .test_tcp import TCP, line, tcp
from .wire import PATIENCE, BrokenOff, Origin, Wire


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; server.pem for app.test and 127.0.0.1, front.pem for a listener, client.pem, and one of a stranger."""
    made = tmp_path_factory.mktemp("tls")
    authority = Authority("Servers' Authority")
    (made / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(made / "server.pem", "app.test", "127.0.0.1")
    authority.issue(made / "front.pem", "front.test")
    authority.issue(made / "client.pem", "balancer", common_name="balancer")
    Authority("Stranger").issue(made / "strange.pem", "app.test", "127.0.0.1")
    return made


@pytest.fixture(scope="module")
def origin(folder: Path) -> Iterator[SecureOrigin]:
    one = SecureOrigin(server_context(folder / "server.pem", alpn=("one", "two")), keep=True)
    yield one
    one.shut()


@pytest.fixture(scope="module")
def old(folder: Path) -> Iterator[SecureOrigin]:
    """Of TLS 1.2, where the server says the last word of the handshake."""
    context = server_context(folder / "server.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    one = SecureOrigin(context, keep=True)
    yield one
    one.shut()


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, origin: SecureOrigin, old: SecureOrigin, folder: Path) -> Balancer:
    """Frontends over the same server: plain, TLS, and by a Unix socket with TLS."""
    ca = str(folder / "ca.pem")
    front = {"cert": str(folder / "front.pem")}
    where = f"127.0.0.1:{free_port()}"

    def backend(**tls: Any) -> dict[str, Any]:
        return {**TCP, "servers": [origin.address], "tls": {"ca": ca, **tls}, "outlier": False, "retries": 0}

    return shared_balancer(
        frontends={
            "web": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "good"},
            "tls": {**TCP, "listen": [{"address": where, "tls": front}], "backend": "named"},
            "unix": {
                **TCP,
                "listen": [{"address": f"unix:{folder}/front", "tls": front | {"alpn": ["h2", "imap"]}}],
                "backend": "named",
            },
            "wrong": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "wrong"},
            "slow": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "slow"},
            "old": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "old"},
        },
        backends={
            "good": backend(),
            "named": backend(server_name="app.test", alpn=["two", "one"], cert=str(folder / "client.pem")),
            "wrong": backend(server_name="other.test"),
            "slow": backend() | {"timeouts": {"connect": "300ms"}},
            "old": backend() | {"servers": [old.address]},
        },
    )


def secure(lb: Balancer, *alpn: str, version: str = "") -> SecureWire:
    return SecureWire(lb.dial("tls").sock, client_context(*alpn, version=version), server=False, name="front.test")


def over(lb: Balancer, client: Wire) -> str:
    """The termination flags of a client's session; awaited. The balancer is shared, so it is known by its port."""
    port = client.sock.getsockname()[1]
    return lb.program.wait_line(rf" 127\.0\.0\.1:{port} \[.* (\S\S) \d+/\d+/\d+/\d+/\S+ \d+/\d+$")[1]


def test_bytes_go_both_ways(lb: Balancer, origin: SecureOrigin) -> None:
    client, wire = lb.dial(), origin.accept()
    wire.send("220 server first\r\n")
    assert client.until(b"\n") == b"220 server first\r\n"
    for size in (1, 1000, 300_000):
        sender = threading.Thread(target=client.send, args=(b"c" * size,))
        sender.start()
        assert wire.exactly(size) == b"c" * size
        sender.join()
        sender = threading.Thread(target=wire.send, args=(b"s" * size,))
        sender.start()
        assert client.exactly(size) == b"s" * size
        sender.join()
    assert wire.tls.selected_alpn_protocol() is None


def test_words_that_come_with_the_end_of_the_handshake(lb: Balancer, old: SecureOrigin) -> None:
    """They lie in the memory of TLS when the session begins, and no event of the kernel tells of them."""
    client, plain = lb.dial("old"), old.accept_plain()
    SecureWire(plain.sock, old.context, server=True, words=b"at once")
    assert client.exactly(7) == b"at once"


def test_name_protocols_and_both_sides(lb: Balancer, origin: SecureOrigin) -> None:
    client = secure(lb, "h2", "http/1.1")
    wire = origin.accept()
    assert origin.names[-1] == "app.test"
    assert wire.tls.selected_alpn_protocol() == "one"  # the server's choice of what was offered
    assert client.tls.selected_alpn_protocol() is None  # none is claimed that was not asked for
    wire.send("hello")
    assert client.exactly(5) == b"hello"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_half_close_is_carried_across(lb: Balancer, origin: SecureOrigin, version: str) -> None:
    client, wire = secure(lb, version=version), origin.accept()
    client.send("last words").finish()
    assert wire.rest() == b"last words"
    assert wire.notified
    wire.send("answer " * 10_000)
    assert client.exactly(70_000) == b"answer " * 10_000
    wire.finish()
    assert client.ended() == "notify"
    assert over(lb, client) == "--"
    client, wire = secure(lb, version=version), origin.accept()
    wire.send("bye").notify()
    assert client.rest() == b"bye"
    assert client.notified
    client.send("bye too").finish()
    assert wire.rest() == b"bye too"
    assert over(lb, client) == "--"


def test_half_close_of_one_secure_side(lb: Balancer, origin: SecureOrigin) -> None:
    client, wire = lb.dial(), origin.accept()
    client.send("q").finish()
    assert wire.rest() == b"q"
    assert wire.notified
    wire.send("a").notify()
    assert client.rest() == b"a"


def test_a_server_that_is_cut_off_is_not_made_orderly(lb: Balancer, origin: SecureOrigin) -> None:
    client, wire = secure(lb), origin.accept()
    wire.send("half a")
    assert client.exactly(6) == b"half a"
    wire.reset()
    assert client.ended() in ("reset", "fin")


@pytest.mark.parametrize("up", [True, False])
def test_megabytes_arrive_as_they_were(lb: Balancer, origin: SecureOrigin, up: bool) -> None:
    client, wire = secure(lb), origin.accept()
    source, drain = (client, wire) if up else (wire, client)
    data = random.Random(7).randbytes(1 << 20) * 8
    sender = threading.Thread(target=lambda: source.send(data).finish())
    sender.start()
    got = hashlib.sha256(drain.rest()).hexdigest()
    sender.join()
    assert got == hashlib.sha256(data).hexdigest()


def test_sessions_are_resumed(lb: Balancer, origin: SecureOrigin) -> None:
    reused = []
    for _ in range(4):
        client, wire = lb.dial(), origin.accept()
        wire.send("x")  # with it the ticket has come
        assert client.exactly(1) == b"x"
        reused.append(wire.tls.session_reused)
        client.close()
        assert wire.rest() == b""
        wire.close()
    assert reused[1:] == [True] * 3


def test_unix_socket_with_tls(lb: Balancer, origin: SecureOrigin, folder: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(folder / "front"))
    with SecureWire(sock, client_context("imap"), server=False) as client:
        wire = origin.accept()
        assert client.tls.selected_alpn_protocol() == "imap"
        client.send("ping").finish()
        assert wire.rest() == b"ping"
        wire.send("pong").finish()
        assert client.rest() == b"pong"


def test_who_cannot_be_verified_gets_nothing(lb: Balancer, origin: SecureOrigin) -> None:
    client = lb.dial("wrong").send("secret")
    with pytest.raises((ssl.SSLError, BrokenOff)):
        origin.accept().exactly(1)
    assert client.ended() in ("fin", "reset")
    assert over(lb, client) == "SC"


def test_a_handshake_has_the_time_of_a_connect(lb: Balancer, origin: SecureOrigin) -> None:
    client, silent = lb.dial("slow"), origin.accept_plain()
    assert silent.exactly(1) == b"\x16"
    assert client.ended() in ("fin", "reset")
    assert over(lb, client) == "sC"


def test_another_server_when_the_handshake_fails(balancer: Balancers, origin: SecureOrigin, folder: Path) -> None:
    """One is a stranger, one speaks no TLS; what the client has sent goes to the one that is good."""
    stranger = SecureOrigin(server_context(folder / "strange.pem"))
    plain = Origin()
    tls = {"ca": str(folder / "ca.pem")}
    lb = tcp(balancer, stranger, plain, origin, backend={"tls": tls, "balance": "first", "outlier": False})
    client = lb.dial().send("early bytes are not lost")
    with pytest.raises((ssl.SSLError, BrokenOff)):
        stranger.accept().exactly(1)
    with plain.accept() as wire:
        assert wire.exactly(1) == b"\x16"
        wire.send("220 I speak first\r\n")
    with origin.accept() as last:
        assert last.exactly(24) == b"early bytes are not lost"
    client.close()
    got = line(lb)
    assert (got["server"], got["retries"]) == ("s2", "+2")


def test_client_certificate_checks_and_the_header_before_it_all(balancer: Balancers, folder: Path) -> None:
    """A server that lets in who has a certificate, checks included; the PROXY header is the first that it gets."""
    asking = server_context(folder / "server.pem", clients=folder / "ca.pem")
    good, stranger = SecureOrigin(asking), SecureOrigin(server_context(folder / "strange.pem"))
    checks = [_Answering(one) for one in (good, stranger)]
    tls = {"ca": str(folder / "ca.pem"), "cert": str(folder / "client.pem")}
    check = {"send": "NOOP\r\n", "receive": "250", "interval": "100ms", "fall": 1, "rise": 1, "initial": "down"}
    lb = tcp(
        balancer, good, stranger,
        backend={"tls": tls, "health_check": check, "send_proxy": "v1", "outlier": False, "balance": "round_robin"},
    )  # fmt: skip
    lb.program.wait_line("s0 is UP")
    for _ in range(3):
        client = lb.dial().send("NOOP\r\n")
        assert client.until(b"\n") == b"250 good\r\n"
        client.close()
    assert all(one.clean for one in checks)
    mine, _ = checks
    assert "balancer" in mine.clients
    assert any(line.startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") for line in mine.headers)


class _Answering:
    """Serves an origin on a thread: the PROXY header, the handshake, then an answer to each line."""

    def __init__(self, origin: SecureOrigin) -> None:
        self.origin = origin
        self.headers: list[bytes] = []
        self.clients: list[str] = []
        self.clean = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        self.origin.sock.settimeout(None)
        while True:
            try:
                plain, _ = self.origin.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(PATIENCE)
        try:
            header = b""
            while not header.endswith(b"\r\n"):
                got = plain.recv(1)
                if not got:
                    return
                header += got
            self.headers.append(header)
            self.clean = self.clean and header.startswith(b"PROXY ")
            with SecureWire(plain, self.origin.context, server=True) as wire:
                shown = wire.tls.getpeercert()
                self.clients.append(str(shown["subject"][0][0][1]) if shown else "")  # type: ignore[index]
                while wire.until(b"\n"):
                    wire.send("250 good\r\n")
        except (OSError, AssertionError):
            pass  # the other side has left, or does not believe us


def test_openssl_on_both_sides(balancer: Balancers, start: Callable[..., Program], folder: Path) -> None:
    """s_client to the listener, s_server behind; each verifies whom it speaks with, and the ends are orderly."""
    openssl = need("openssl")
    port = free_port()
    server = start(
        [openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", folder / "server.pem", "-rev", "-Verify", "1",
         "-CAfile", folder / "ca.pem", "-verify_return_error", "-naccept", "2"]
    )  # fmt: skip
    server.wait_line("ACCEPT")
    front = {"cert": str(folder / "front.pem")}
    listen = f"127.0.0.1:{free_port()}"
    tls = {"ca": str(folder / "ca.pem"), "cert": str(folder / "client.pem")}
    lb = tcp(
        balancer, f"127.0.0.1:{port}", frontend={"listen": [{"address": listen, "tls": front}]}, backend={"tls": tls}
    )
    for version in ("-tls1_2", "-tls1_3"):
        assert _ask(openssl, listen, folder, version) == b"sdrow tsal\n"
    lb.program.wait_line(r" web~ app/s0 .* -- ")


def _ask(openssl: str, listen: str, folder: Path, version: str) -> bytes:
    """What s_server answers to a line: the line reversed."""
    with subprocess.Popen(
        [openssl, "s_client", "-connect", listen, "-servername", "front.test", "-verify_hostname", "front.test",
         "-CAfile", folder / "ca.pem", "-verify_return_error", "-quiet", version],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as program:  # fmt: skip
        assert program.stdin and program.stdout
        program.stdin.write(b"last words\n")
        program.stdin.flush()
        got = program.stdout.readline()
        program.kill()
        return got
