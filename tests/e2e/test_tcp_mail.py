"""SMTP through mode = "tcp": a mail client and a mail server, with STARTTLS between them, and the PROXY protocol."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Authority, pem
from tests.helpers import ROOT, SLOWNESS, Program, free_port, need

from .balancer import Balancer, Balancers
from .test_tcp import TCP, line

TIMEOUT = 60 * SLOWNESS
LINES = 20_000
Start = Callable[..., Program]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, mail.pem of mail.test, and a letter of more than a megabyte."""
    folder = tmp_path_factory.mktemp("mail")
    authority = Authority("Mail")
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    authority.issue(folder / "mail.pem", "mail.test")
    (folder / "letter").write_text("Subject: long\r\n\r\n" + f"{'x' * 60}\r\n" * LINES, newline="")
    return folder


def serve(start: Start, folder: Path, *how: str) -> tuple[Program, str]:
    """A mail server, and its address."""
    assert importlib.util.find_spec("aiosmtpd"), "aiosmtpd belongs to the extra `test`"
    port = free_port()
    server = start([sys.executable, ROOT / "tests/e2e/mail_server.py", str(port), folder / "mail.pem", *how])
    server.wait_line("ready", timeout=30)
    return server, f"127.0.0.1:{port}"


def send(lb: Balancer, folder: Path) -> str:
    """Sends the letter, over TLS and to nobody but mail.test; the protocol as it went."""
    command = [
        *(need("swaks"), "--server", f"127.0.0.1:{lb.ports['web']}", "--local-interface", "127.0.0.7"),
        *("--from", "a@one.test", "--to", "b@two.test", "--timeout", f"{TIMEOUT:g}s", "--data", f"@{folder}/letter"),
        *("--tls", "--tls-verify", "--tls-ca-path", folder / "ca.pem", "--tls-sni", "mail.test"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["", "v1", "v2"])
def test_a_letter(balancer: Balancers, start: Start, folder: Path, version: str) -> None:
    """The server speaks first; STARTTLS passes by, and its certificate is the mail server's own."""
    server, address = serve(start, folder, *(["proxied"] if version else []))
    lb = balancer(address, frontend=TCP, backend={**TCP, "send_proxy": version} if version else TCP)
    assert "STARTTLS" in send(lb, folder)
    told = json.loads(server.wait_line(r"^\{.*\}$").string)
    assert told == {"client": "127.0.0.7" if version else "127.0.0.1", "tls": True, "lines": LINES}
    assert line(lb)["term"] in ("--", "CD")  # a client may leave without waiting for the last words of TLS


def test_one_of_two_mail_servers_is_down(balancer: Balancers, start: Start, folder: Path) -> None:
    """The client hears nothing of it."""
    server, address = serve(start, folder)
    lb = balancer(f"127.0.0.1:{free_port()}", address, frontend=TCP, backend={**TCP, "balance": "first"})
    send(lb, folder)
    server.wait_line(r"^\{.*\}$")
    assert line(lb)["retries"] == "+1"
