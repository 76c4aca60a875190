"""Clients that show certificates: asked, required, revoked, too deep; who they are is told to servers."""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, pem
from tests.helpers import free_port

from .balancer import Balancer, Balancers
from .wire import PATIENCE, Message, Origin

FORGED = b"X-Forwarded-Client-Cert: Hash=forged\r\nX_Forwarded_Client_Cert: forged\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def certificates(folder: Path) -> dict[str, Any]:
    root, stranger = Authority("Clients"), Authority("Strangers")
    middle = Authority("Middle", under=root)
    lower = Authority("Lower", under=middle)
    root.issue(folder / "site.pem", "a.test")
    (folder / "ca.pem").write_bytes(pem(root.certificate))
    made = {
        "good": root.issue(folder / "good.pem", "good.test", common_name='Go"od, é', uri="spiffe://a/b"),
        "gone": root.issue(folder / "gone.pem", "gone.test"),
        "deep": middle.issue(folder / "deep.pem", "deep.test"),
        "deeper": lower.issue(folder / "deeper.pem", "deeper.test"),
        "strange": stranger.issue(folder / "strange.pem", "strange.test"),
    }
    root.revoke(made["gone"], folder / "crl.pem")
    return made


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, server: Origin, folder: Path, certificates: dict[str, Any]) -> Balancer:
    def listen(**tls: Any) -> dict[str, Any]:
        files = {"cert": str(folder / "site.pem"), "client_ca": str(folder / "ca.pem")} if tls else {
            "cert": str(folder / "site.pem")
        }  # fmt: skip
        return {"listen": [{"address": f"127.0.0.1:{free_port()}", "tls": files | tls}], "backend": "app"}

    crl = str(folder / "crl.pem")
    return shared_balancer(
        server,
        backend={"pool": {"size": 0}},
        frontend=listen(client_auth="required", client_crl=crl),
        frontends={
            "asked": listen(client_auth="optional"),
            "shallow": listen(client_auth="required", client_depth=1),
            "trusting": listen(client_auth="optional") | {"forwarded": {"trust": "127.0.0.0/8"}},
            "none": listen(),
        },
    )


def request(lb: Balancer, server: Origin, frontend: str, cert: Path | None) -> Message:
    """The request as the server gets it. Raises what the handshake raises."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(cert)
    plain = socket.create_connection(("127.0.0.1", lb.ports[frontend]), timeout=PATIENCE)
    with context.wrap_socket(plain, server_hostname="a.test") as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n" + FORGED + b"\r\n")
        s.settimeout(0.1)
        try:
            s.recv(1)  # with TLS 1.3 the client learns of its refusal only now
        except TimeoutError:
            pass
        s.settimeout(PATIENCE)
        wire = server.accept()
        got = wire.request()
        wire.answer(b"ok")
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
        return got


def test_who_it_is(lb: Balancer, server: Origin, folder: Path, certificates: dict[str, Any]) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    der = certificates["good"].public_bytes(Encoding.DER)
    expected = (
        f'Hash={hashlib.sha256(der).hexdigest()};Subject="CN=Go\\\\\\"od\\\\, %C3%A9";URI=spiffe://a/b;DNS=good.test'
    )
    for frontend in ("web", "asked"):
        assert request(lb, server, frontend, folder / "good.pem").all("x-forwarded-client-cert") == [expected]
    trusted = request(lb, server, "trusting", folder / "good.pem").get("x-forwarded-client-cert")
    assert trusted == f"Hash=forged, {expected}"


def test_nobody_can_say_so_himself(lb: Balancer, server: Origin) -> None:
    for frontend in ("asked", "none"):
        got = request(lb, server, frontend, None)
        assert not [name for name, _ in got.fields if "client" in name]


@pytest.mark.parametrize(
    ("frontend", "cert"),
    [("web", None), ("web", "strange"), ("web", "gone"), ("asked", "strange")],
)
def test_who_is_turned_away(lb: Balancer, server: Origin, folder: Path, frontend: str, cert: str | None) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        request(lb, server, frontend, folder / f"{cert}.pem" if cert else None)
    assert server.untouched()


def test_how_deep_a_chain_may_be(lb: Balancer, server: Origin, folder: Path) -> None:
    for frontend, name in (("shallow", "deep"), ("asked", "deeper")):
        got = request(lb, server, frontend, folder / f"{name}.pem").all("x-forwarded-client-cert")
        assert f"CN={name}.test" in got[0]
    assert "CN=deeper.test" in (
        request(lb, server, "asked", folder / "deeper.pem").get("x-forwarded-client-cert") or ""
    )
    with pytest.raises((ssl.SSLError, ConnectionError)):
        request(lb, server, "shallow", folder / "deeper.pem")
    assert server.untouched()


def test_a_session_is_good_only_where_the_same_clients_are(lb: Balancer, folder: Path) -> None:
    """One made without a certificate does not get past a listener that requires one, though the keys are the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(socket.create_connection(("127.0.0.1", lb.ports["none"]), timeout=PATIENCE)) as s:
        session = s.session
        assert session.has_ticket
    with pytest.raises((ssl.SSLError, ConnectionError)):
        plain = socket.create_connection(("127.0.0.1", lb.ports["web"]), timeout=PATIENCE)
        with context.wrap_socket(plain, session=session) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if s.recv(1) == b"":
                raise ConnectionError
