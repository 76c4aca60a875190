"""What a TLS listener can be told: which certificate, whom to turn away, versions, ciphers, curves, HSTS."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.certificates import Authority
from tests.helpers import free_port, need

from .balancer import Balancer, Balancers
from .wire import PATIENCE

OK = {"routes": [{"path": "/*", "respond": {"status": 200, "body": "ok"}}]}


def listening(**tls: Any) -> dict[str, Any]:
    return {"listen": [{"address": f"127.0.0.1:{free_port()}", "tls": tls}], **OK}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    one = Authority("Test Authority")
    (folder / "sites").mkdir()
    one.issue(folder / "sites" / "a-ecdsa.pem", "a.test")
    one.issue(folder / "sites" / "a-rsa.pem", "a.test", kind="rsa")
    one.issue(folder / "sites" / "b.pem", "*.b.test", "exact.b.test")
    one.issue(folder / "sites" / "c.pem", "exact.b.test")
    return one


@pytest.fixture(scope="module")
def secure(shared_balancer: Balancers, folder: Path, authority: Authority) -> Balancer:
    cert = str(folder / "sites")
    plain = free_port()
    return shared_balancer(
        frontend=listening(cert=cert) | {"hsts": {"max_age": "1d", "include_subdomains": True}},
        frontends={
            "strict": listening(cert=cert, strict_sni=True),
            "modern": listening(cert=cert, min_version="1.3", ciphersuites=["TLS_AES_256_GCM_SHA384"], alpn=[]),
            "curve": listening(cert=cert, curves=["P-384"], ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"),
            "both": {
                "listen": [f"127.0.0.1:{plain}", {"address": f"127.0.0.1:{free_port()}", "tls": {"cert": cert}}],
                "redirect_https": True,
                "hsts": True,
                **OK,
            },
        },
    )


def handshake(lb: Balancer, frontend: str = "web", name: str | None = "a.test", **options: Any) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    if ciphers := options.pop("ciphers", ""):
        context.set_ciphers(ciphers)
    for key, value in options.items():
        setattr(context, key, value)
    plain = socket.create_connection(("127.0.0.1", lb.ports[frontend]), timeout=PATIENCE)
    return context.wrap_socket(plain, server_hostname=name)


def shown(s: ssl.SSLSocket) -> x509.Certificate:
    der = s.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der)


def names(one: x509.Certificate) -> list[str]:
    found = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def get(s: ssl.SSLSocket) -> str:
    s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    got = b""
    while data := s.recv(4096):
        got += data
    return got.decode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.test", ["a.test"]),
        ("A.Test", ["a.test"]),
        ("x.b.test", ["*.b.test", "exact.b.test"]),
        ("exact.b.test", ["*.b.test", "exact.b.test"]),  # the first file that names it
        ("x.y.b.test", ["a.test"]),  # a wildcard stands for one label
        (None, ["a.test"]),
    ],
)
def test_the_name_picks_the_certificate(secure: Balancer, name: str | None, expected: list[str]) -> None:
    with handshake(secure, name=name) as s:
        assert names(shown(s)) == expected
        assert get(s).endswith("\r\n\r\nok")


@pytest.mark.parametrize(("ciphers", "ecdsa"), [("ECDHE+ECDSA", True), ("ECDHE+aRSA", False)])
def test_two_kinds_of_key_beside_each_other(secure: Balancer, ciphers: str, ecdsa: bool) -> None:
    with handshake(secure, ciphers=ciphers, maximum_version=ssl.TLSVersion.TLSv1_2) as s:
        assert isinstance(shown(s).public_key(), ec.EllipticCurvePublicKey) == ecdsa


def test_ecdsa_is_preferred(secure: Balancer) -> None:
    with handshake(secure) as s:
        assert isinstance(shown(s).public_key(), ec.EllipticCurvePublicKey)


@pytest.mark.parametrize("name", ["other.test", None])
def test_strict_names(secure: Balancer, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        handshake(secure, "strict", name)
    with handshake(secure, "strict", "x.b.test") as s:
        assert get(s).endswith("ok")


def test_versions_suites_and_no_alpn(secure: Balancer) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(secure, "modern", maximum_version=ssl.TLSVersion.TLSv1_2)
    with handshake(secure, "modern") as s:
        assert s.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
        assert s.selected_alpn_protocol() is None


def test_curves_and_ciphers(secure: Balancer) -> None:
    with handshake(secure, "curve", maximum_version=ssl.TLSVersion.TLSv1_2) as s:
        assert s.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"  # type: ignore[index]
    told = subprocess.run(
        [need("openssl"), "s_client", "-connect", f"127.0.0.1:{secure.ports['curve']}", "-servername", "a.test"],
        input=b"", capture_output=True, check=False, timeout=20,
    ).stdout.decode()  # fmt: skip
    assert "secp384r1" in told or "P-384" in told


def test_hsts_over_tls_alone(secure: Balancer) -> None:
    with handshake(secure) as s:
        assert "\r\nStrict-Transport-Security: max-age=86400; includeSubDomains\r\n" in get(s)
    with secure.dial("both") as plain:
        plain.send(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = plain.response()
    assert answer.status == 301
    assert answer.get("location") == "https://a.test/x"
    assert answer.get("strict-transport-security") is None
