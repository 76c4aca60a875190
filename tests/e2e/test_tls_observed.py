"""What is told of TLS: fields of the access log, handshakes by kind, version and reason of failure in the metrics."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, pem
from tests.helpers import free_port, wait_until

from .balancer import Balancer, Balancers
from .test_tls_options import OK, get
from .test_tls_renewal import Api
from .wire import PATIENCE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observed")


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, folder: Path) -> Balancer:
    authority = Authority("Clients")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(folder / "site.pem", "a.test")
    authority.issue(folder / "client.pem", "client.test")
    Authority("Strangers").issue(folder / "strange.pem", "strange.test")
    tls = {"cert": str(folder / "site.pem")}

    def listen(**more: Any) -> dict[str, Any]:
        return {"listen": [{"address": f"127.0.0.1:{free_port()}", "tls": tls | more}], **OK}

    return shared_balancer(
        frontend=listen(),
        frontends={
            "asked": listen(client_auth="optional", client_ca=str(folder / "ca.pem")),
            "needed": listen(client_auth="required", client_ca=str(folder / "ca.pem")),
            "hasty": listen(handshake_timeout="300ms"),
            "plain": {"listen": [f"127.0.0.1:{free_port()}"], **OK},
        },
        log={"access": str(folder / "access.log"), "format": "json"},
        admin={"socket": str(folder / "admin.sock")},
    )


@pytest.fixture
def api(lb: Balancer, folder: Path) -> Iterator[Api]:
    with contextlib.closing(Api(folder / "admin.sock")) as one:
        yield one


def context(cert: Path | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    one = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    one.check_hostname = False
    one.verify_mode = ssl.CERT_NONE
    one.minimum_version = one.maximum_version = version
    if cert is not None:
        one.load_cert_chain(cert)
    return one


def connect(lb: Balancer, frontend: str, one: ssl.SSLContext, **options: Any) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", lb.ports[frontend]), timeout=PATIENCE)
    return one.wrap_socket(plain, server_hostname="a.test", **options)


def counts(api: Api, frontend: str) -> dict[str, int]:
    text = api.ask("GET", "/metrics")[1]
    found = re.findall(
        rf'^fastlb_frontend_tls_(\w+)_total{{proxy="{frontend}",\w+="([\w.]+)"}} (\d+)$', text, re.MULTILINE
    )
    return {f"{family} {label}": int(value) for family, label, value in found}


def logged(folder: Path, frontend: str, number: int = 1) -> list[dict[str, Any]]:
    """The lines of a frontend, when there are so many."""

    def there() -> list[dict[str, Any]] | None:
        lines = [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]
        lines = [one for one in lines if one["frontend"] == frontend]
        return lines if len(lines) >= number else None

    found = wait_until(there, what=f"{number} lines of {frontend}")
    assert found
    return found


def test_version_cipher_and_resumption(lb: Balancer, api: Api, folder: Path) -> None:
    old = context(version=ssl.TLSVersion.TLSv1_2)
    with connect(lb, "web", old) as s:
        assert get(s).endswith("ok")
        session, cipher = s.session, s.cipher()
    with connect(lb, "web", old, session=session) as s:
        assert s.session_reused
        assert get(s).endswith("ok")
    with connect(lb, "web", context()) as s:
        assert get(s).endswith("ok")
        modern = s.cipher()
    assert cipher is not None
    assert modern is not None
    told = [(o["tls_version"], o["tls_cipher"], o["tls_resumed"]) for o in logged(folder, "web", 3)]
    assert sorted(told) == [
        ("TLSv1.2", cipher[0], False),
        ("TLSv1.2", cipher[0], True),
        ("TLSv1.3", modern[0], False),
    ]
    # A session of TLS 1.2 does not know the name that it was made for.
    assert [o.get("tls_sni") for o in logged(folder, "web", 3) if not o["tls_resumed"]] == ["a.test", "a.test"]
    assert not any("tls_client" in one for one in logged(folder, "web", 3))
    assert counts(api, "web") == {
        "handshakes full": 2, "handshakes resumed": 1, "versions 1.2": 2, "versions 1.3": 1, "failures protocol": 0,
        "failures certificate": 0, "failures left": 0, "failures timeout": 0,
    }  # fmt: skip


def test_who_the_client_is(lb: Balancer, folder: Path) -> None:
    for cert in (folder / "client.pem", None):
        with connect(lb, "asked", context(cert)) as s:
            assert get(s).endswith("ok")
    shown = [one.get("tls_client", "") for one in logged(folder, "asked", 2)]
    assert sum('Subject="CN=client.test";DNS=client.test' in one for one in shown) == 1
    assert sum(not one for one in shown) == 1


def test_nothing_is_told_of_plain_connections(lb: Balancer, folder: Path) -> None:
    with lb.dial("plain") as client:
        assert client.get("/").response().status == 200
    assert not any(key.startswith("tls_") for key in logged(folder, "plain")[0])


@pytest.mark.parametrize("cert", [None, "strange.pem"])
def test_certificates_that_are_refused(lb: Balancer, api: Api, folder: Path, cert: str | None) -> None:
    before = counts(api, "needed")["failures certificate"]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect(lb, "needed", context(folder / cert if cert else None)) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            if not s.recv(1):
                raise ConnectionError
    wait_until(lambda: counts(api, "needed")["failures certificate"] == before + 1, what="the failure in the metrics")


def hello() -> bytes:
    """A ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context().wrap_bio(incoming, outgoing, server_hostname="a.test").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("reason", ["protocol", "left"])
def test_handshakes_that_come_to_nothing(lb: Balancer, api: Api, reason: str) -> None:
    sent = hello()[:60] if reason == "left" else b"GET / HTTP/1.1\r\n\r\n"
    before = counts(api, "asked")
    with socket.create_connection(("127.0.0.1", lb.ports["asked"]), timeout=PATIENCE) as s:
        s.sendall(sent)
        if reason == "left":
            # It has been looked at when what came later on another connection was.
            connect(lb, "asked", context()).close()
        else:
            with contextlib.suppress(ConnectionError):
                while s.recv(4096):
                    pass
    wait_until(
        lambda: counts(api, "asked")[f"failures {reason}"] == before[f"failures {reason}"] + 1, what="the failure"
    )


def test_the_deadline_of_a_handshake(lb: Balancer, api: Api) -> None:
    """Neither silence nor half a ClientHello holds a connection; a client that is done has the header's time."""
    with connect(lb, "hasty", context()) as done:
        for sent in (b"", hello()[:60], hello()):
            with socket.create_connection(("127.0.0.1", lb.ports["hasty"]), timeout=PATIENCE) as s:
                s.sendall(sent)
                with contextlib.suppress(ConnectionError):
                    while s.recv(65536):
                        pass
        assert get(done).endswith("ok")
    wait_until(lambda: counts(api, "hasty")["failures timeout"] == 2, what="two handshakes in the metrics")
