"""Certificates by ACME from a real server (pebble): both challenges, renewal, failures, what is kept and shown."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.helpers import free_port, wait_until
from tests.pebble import Pebble, pebble

from .balancer import Balancer, Balancers
from .test_tls_options import OK, get, names, shown
from .test_tls_renewal import Api
from .wire import PATIENCE

BINDING = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")
ISSUED = 60  # seconds


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """It wants an external account, and refuses some nonces."""
    with pebble(tmp_path_factory.mktemp("pebble"), bindings=dict([BINDING])) as one:
        yield one


@pytest.fixture(scope="module")
def start(shared_balancer: Balancers, authority: Pebble) -> Callable[..., Balancer]:
    """A balancer of two workers that keeps what it gets in `folder`."""

    def begin(folder: Path, listen: list[Any], *, frontends: Any = None, **acme: Any) -> Balancer:
        settings = {"directory": authority.directory, "agree": True, "contact": "admin@example.com",
                    "storage": str(folder / "acme"), "ca": str(authority.ca), "eab_kid": BINDING[0],
                    "eab_key": BINDING[1], **acme}  # fmt: skip
        return shared_balancer(
            frontend={"listen": listen, "redirect_https": True, **OK},
            frontends=frontends or {},
            tls={"acme": settings},
            global_={"workers": 2},
            admin={"socket": str(folder / "admin.sock")},
        )

    return begin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acme")


def secure(*wanted: str, port: int = 0) -> dict[str, Any]:
    return {"address": f"127.0.0.1:{port or free_port()}", "tls": {"acme": list(wanted)}}


@pytest.fixture(scope="module")
def lb(start: Callable[..., Balancer], authority: Pebble, folder: Path) -> Balancer:
    """A plain listener that redirects everything, and two with certificates that are to come."""
    return start(
        folder,
        [f"127.0.0.1:{authority.http_port}"],
        frontends={
            "a": {"listen": [secure("a.example.com", "www.a.example.com")], **OK},
            "b": {"listen": [secure("b.example.com")], **OK},
        },
    )


@pytest.fixture
def api(lb: Balancer, folder: Path) -> Iterator[Api]:
    with contextlib.closing(Api(folder / "admin.sock")) as one:
        yield one


def handshake(authority: Pebble, port: int, name: str) -> ssl.SSLSocket:
    """As a client that trusts the ACME server's authority and nobody else."""
    context = ssl.create_default_context(cadata=authority.root().decode())
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    return context.wrap_socket(plain, server_hostname=name)


def certificate(api: Api, name: str) -> dict[str, Any]:
    found = api.ask("GET", "/v1/certificates")[1]["certificates"]
    return next(one for one in found if name in (one["acme"] or {"wanted": ()})["wanted"])


def awaited(api: Api, name: str, serial: str = "", state: str = "valid") -> dict[str, Any]:
    """The certificate when it is another one than `serial`, in this state and in use."""

    def there() -> dict[str, Any] | None:
        one = certificate(api, name)
        fits = one["acme"]["state"] == state and one["serial"] != serial
        return one if fits and (state != "valid" or one["file"] != "fastlb stand-in") else None

    found = wait_until(there, ISSUED, f"a certificate for {name} that is {state}")
    assert found
    return found


def test_http_01_past_a_redirect(lb: Balancer, authority: Pebble, api: Api, folder: Path) -> None:
    for frontend, name, every in (
        ("a", "www.a.example.com", ["a.example.com", "www.a.example.com"]),
        ("b", "b.example.com", ["b.example.com"]),
    ):
        one = awaited(api, name)
        assert sorted(one["names"]) == every
        assert one["acme"]["failures"] == 0
        assert one["not_before"] < one["acme"]["renew_at"] < one["not_after"]
        for _ in range(4):  # each worker
            with handshake(authority, lb.ports[frontend], name) as s:
                assert sorted(names(shown(s))) == every
                assert get(s).endswith("ok")
    for file in (folder / "acme").rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file
    assert not list((folder / "acme").rglob("*.fresh"))
    assert lb.complained(r"acme: certificate for b\.example\.com until")
    # Nobody is answered in the authority's place any more.
    with lb.dial() as client:
        assert client.get("/.well-known/acme-challenge/none").response().status == 301
    metrics = api.ask("GET", "/metrics")[1]
    assert 'fastlb_acme_certificates_issued_total{name="b.example.com"} 1' in metrics
    assert 'fastlb_acme_failing{name="b.example.com"} 0' in metrics
    config = json.dumps(api.ask("GET", "/v1/config")[1])
    assert "PRIVATE" not in config
    assert BINDING[1] not in config


def test_renewed_when_two_thirds_are_over(lb: Balancer, api: Api, authority: Pebble) -> None:
    file = Path(awaited(api, "b.example.com")["file"])
    account = file.parent / "account.json"
    kept = json.loads(account.read_text())
    # The authority knows no such account: another one is made for the same key.
    account.write_text(json.dumps({**kept, "uri": kept["uri"] + "0"}))
    # One day of it is over, and a tenth of a day is left.
    old = Authority("Some authority").issue(file, "b.example.com", days=0.1)
    assert api.ask("POST", "/v1/certificates/reload")[0] == 200
    renewed = awaited(api, "b.example.com", f"{old.serial_number:x}")
    assert renewed["days_left"] > 1
    assert json.loads(account.read_text()) == kept
    with handshake(authority, lb.ports["b"], "b.example.com") as s:
        assert get(s).endswith("ok")


def test_the_old_one_stays_when_no_other_is_to_be_had(
    start: Callable[..., Balancer], lb: Balancer, authority: Pebble, tmp_path: Path
) -> None:
    """The plain listener is not where the authority looks."""
    one = start(tmp_path, [f"127.0.0.1:{free_port()}", secure("c.example.com")])
    with contextlib.closing(Api(tmp_path / "admin.sock")) as api:
        failed = awaited(api, "c.example.com", state="failed")
        assert failed["file"] == "fastlb stand-in"
        assert failed["acme"]["failures"] == 1
        assert "c.example.com was not proven" in failed["acme"]["error"]
        assert failed["acme"]["next_try"]
        assert one.complained(r"acme: no certificate for c\.example\.com: .*next try in 60 s")
        tables = [f for f in api.ask("GET", "/v1/config")[1]["frontends"] if f["name"] == "web"]
        file = Path(tables[0]["listen"][1]["tls"]["acme_cert"])
        old = Authority("Some authority").issue(file, "c.example.com", days=0.1)
        assert api.ask("POST", "/v1/certificates/reload")[0] == 200
        wait_until(lambda: certificate(api, "c.example.com")["acme"]["failures"] == 2, ISSUED, "the second failure")
        assert int(certificate(api, "c.example.com")["serial"], 16) == old.serial_number
        assert file.read_bytes().count(b"BEGIN CERTIFICATE") == 1
        assert 'fastlb_acme_failing{name="c.example.com"} 1' in api.ask("GET", "/metrics")[1]


def test_tls_alpn_01(start: Callable[..., Balancer], authority: Pebble, tmp_path: Path) -> None:
    def begin() -> Balancer:
        port = authority.tls_port
        return start(
            tmp_path, [f"127.0.0.1:{free_port()}", secure("d.example.com", port=port)], challenge="tls-alpn-01"
        )

    one = begin()
    with contextlib.closing(Api(tmp_path / "admin.sock")) as api:
        serial = awaited(api, "d.example.com")["serial"]
    with handshake(authority, authority.tls_port, "d.example.com") as s:
        assert get(s).endswith("ok")
    one.stop()
    # The next one comes up with what is in the storage.
    begin()
    with handshake(authority, authority.tls_port, "d.example.com") as s:
        assert f"{shown(s).serial_number:x}" == serial
