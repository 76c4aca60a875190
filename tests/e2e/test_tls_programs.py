"""TLS in the eyes of others: Chromium over HTTPS, curl, testssl.sh."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.admin.browser import Browser
from tests.certificates import Authority, pem
from tests.helpers import free_port, need

from .balancer import Balancer, Balancers

PAGE = (
    '<!doctype html><title>fastlb</title><link rel="icon" href="data:,"><script src="/app.js"></script>'
    '<form method="post" action="/form"><input name="a" value="b"></form>'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def site(folder: Path) -> x509.Certificate:
    authority = Authority("Programs")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    return authority.issue(folder / "site.pem", "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def lb(shared_balancer: Balancers, folder: Path, site: x509.Certificate) -> Balancer:
    routes = [
        {"path": "/app.js", "respond": {"body": "window.loaded = true", "content_type": "text/javascript"}},
        {"path": "/form", "methods": ["POST"], "respond": {"body": "posted", "content_type": "text/html"}},
        {"path": "/*", "respond": {"body": PAGE, "content_type": "text/html"}},
    ]
    listen = {"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(folder / "site.pem")}}
    return shared_balancer(frontend={"listen": [listen], "hsts": "1d", "routes": routes})


def test_chromium(lb: Balancer, folder: Path, site: x509.Certificate) -> None:
    key = site.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    trusted = base64.b64encode(hashlib.sha256(key).digest()).decode()
    url = f"https://localhost:{lb.ports['web']}/"
    browser = Browser(folder, f"--ignore-certificate-errors-spki-list={trusted}")
    try:
        browser.open(url)
        assert browser.run("window.loaded") is True
        assert browser.run("isSecureContext") is True
        assert browser.run("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "http/1.1"
        # Sixty requests at once, over all connections that a browser opens.
        many = "Promise.all([...Array(60).keys()].map(i => fetch('/?' + i).then(r => r.status)))"
        assert browser.run(f"{many}.then(all => all.every(s => s === 200))") is True
        told = browser.responses[url]
        assert told["securityState"] == "secure"
        details = told["securityDetails"]
        assert (details["protocol"], details["subjectName"]) == ("TLS 1.3", "localhost")
        assert details["cipher"] in ("AES_128_GCM", "AES_256_GCM", "CHACHA20_POLY1305")
        assert told["headers"]["Strict-Transport-Security"] == "max-age=86400"
        browser.run("document.forms[0].submit()")
        browser.wait("document.body && document.body.textContent === 'posted'")
        assert not browser.complaints
    finally:
        browser.close()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl(lb: Balancer, folder: Path, version: str) -> None:
    url = f"https://localhost:{lb.ports['web']}/app.js"
    out = subprocess.run(
        [need("curl"), "-sS", "--cacert", folder / "ca.pem", f"--tlsv{version}", "--tls-max", version, url, url,
         "-w", "%{http_code} %{ssl_verify_result} %{num_connects}\n"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    # Verified, and the second request goes over the same connection.
    assert out == "window.loaded = true200 0 1\nwindow.loaded = true200 0 0\n"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_testssl_finds_nothing(lb: Balancer, folder: Path) -> None:
    """No old protocol, weak cipher or known hole. (HAProxy's defaults get a LOW for their CBC ciphers.)"""
    report = folder / "testssl.json"
    subprocess.run(
        [need("testssl"), "--quiet", "--warnings", "off", "--color", "0", "--ip", "127.0.0.1", "--protocols", "--std",
         "--heartbleed", "--ccs-injection", "--ticketbleed", "--robot", "--renegotiation", "--compression",
         "--tls-fallback", "--jsonfile", report, f"localhost:{lb.ports['web']}"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=380, check=False,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(report.read_text())
    severities = {one["id"]: one["severity"] for one in found}
    looked = {"SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipherlist_AVERAGE", "heartbleed", "CCS", "ROBOT",
              "secure_client_renego", "CRIME_TLS"}  # fmt: skip
    assert looked <= set(severities), found
    # WARN is about the program's own copy of OpenSSL.
    assert not [one for one in found if one["severity"] not in ("OK", "INFO", "WARN")]
