"""Why a TLS handshake with a server failed: in the log, and in what is logged of the session or request."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, pem
from tests.helpers import free_port, wait_until

from .balancer import Balancer, Balancers
from .secure import SecureOrigin, server_context
from .test_tcp import TCP
from .wire import Origin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; good.pem of app.test, old.pem of the same name that has expired, and strange.pem of another authority."""
    made = tmp_path_factory.mktemp("reasons")
    authority = Authority("Reasons")
    (made / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(made / "good.pem", "app.test")
    authority.issue(made / "old.pem", "app.test", days=-1)
    Authority("Stranger").issue(made / "strange.pem", "app.test")
    return made


@pytest.fixture(scope="module")
def origins(folder: Path) -> Iterator[dict[str, SecureOrigin]]:
    demanding = server_context(folder / "good.pem", clients=folder / "ca.pem")
    demanding.maximum_version = ssl.TLSVersion.TLSv1_2  # where a client hears of it within the handshake
    made = {
        "good": SecureOrigin(server_context(folder / "good.pem"), keep=True),
        "old": SecureOrigin(server_context(folder / "old.pem"), keep=True),
        "strange": SecureOrigin(server_context(folder / "strange.pem"), keep=True),
        "demanding": SecureOrigin(demanding, keep=True),
    }
    yield made
    for one in made.values():
        one.shut()


@pytest.fixture(scope="module", params=["", "portable"])
def lb(
    request: pytest.FixtureRequest, shared_balancer: Balancers, origins: dict[str, SecureOrigin], folder: Path
) -> Balancer:
    """A frontend of each mode for each way to fail."""
    ca = str(folder / "ca.pem")

    def backend(origin: str, mode: str, **tls: Any) -> dict[str, Any]:
        tls = {"ca": ca, "server_name": "app.test", **tls}
        servers = [{"name": "s0", "address": origins[origin].address}]
        return {"mode": mode, "servers": servers, "tls": tls, "outlier": False, "retries": 0}

    backends = {
        f"{name}_{mode}": backend(origin, mode, **tls)
        for name, origin, tls in (
            ("name", "good", {"server_name": "other.test"}),
            ("issuer", "strange", {}),
            ("expired", "old", {}),
            ("client", "demanding", {}),
        )
        for mode in ("tcp", "http")
    }
    frontends = {
        name: {"mode": part["mode"], "listen": f"127.0.0.1:{free_port()}", "backend": name}
        for name, part in backends.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setenv("FASTLB_TLS", request.param)
        return shared_balancer(frontends=frontends, backends=backends)


@pytest.mark.parametrize("mode", ["tcp", "http"])
@pytest.mark.parametrize(
    ("name", "origin", "reason"),
    [
        ("name", "good", "certificate verify failed: [Hh]ostname mismatch"),
        ("issuer", "strange", "certificate verify failed: (unable to get local issuer|self.signed) certificate"),
        ("expired", "old", "certificate verify failed: certificate has expired"),
        ("client", "demanding", "alert (handshake failure|certificate required)"),
    ],
)
def test_the_reason_is_told(
    lb: Balancer, origins: dict[str, SecureOrigin], name: str, origin: str, reason: str, mode: str
) -> None:
    start = len(lb.program.lines)
    client = lb.dial(f"{name}_{mode}")
    if mode == "http":
        client.get("/")
    with pytest.raises((ssl.SSLError, AssertionError)):
        origins[origin].accept().exactly(1)
    if mode == "http":
        assert client.response().status == 503
    else:
        assert client.ended() == "fin"
    address = origins[origin].address.replace(".", r"\.")
    lb.complained(rf"TLS handshake with server s0 at {address} failed: .*{reason}")
    wait_until(
        lambda: any(
            f"backend={name}_{mode}" in line and 'reason="TLS handshake with the server failed: ' in line
            for line in lb.program.lines[start:]
        ),
        what="the line of the session",
    )


def test_a_server_that_hangs_up(balancer: Balancers) -> None:
    """Once is enough, as long as it is the same."""
    rude = Origin()
    lb = balancer(
        {"name": "rude", "address": rude.address},
        frontend=TCP,
        backend={**TCP, "tls": {"verify": False}, "outlier": False, "retries": 0},
    )
    for _ in range(3):
        client, wire = lb.dial(), rude.accept()
        head = wire.exactly(5)
        wire.exactly(int.from_bytes(head[3:]))  # what is left unread would make the end a reset
        wire.finish()
        assert client.ended() == "fin"
    lb.complained("TLS handshake with server rude at .* failed: the server closed the connection")
    assert sum("TLS handshake with server rude" in line for line in lb.program.lines) == 1
