"""Certificates that change while fastlb runs, and sessions that outlive connections, workers and reloads."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.certificates import Authority
from tests.helpers import free_port, need, wait_until

from .balancer import Balancer, Balancers
from .test_tls_options import OK, get, handshake, shown

REPLACED = int(os.environ.get("FASTLB_TEST_REPLACEMENTS", "15"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("renewal")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Renewing Authority")


@pytest.fixture(scope="module")
def renewing(shared_balancer: Balancers, folder: Path, authority: Authority) -> Balancer:
    """Two workers; the listener of `other` shows a certificate that stays."""
    authority.issue(folder / "site.pem", "a.test", days=20)
    authority.issue(folder / "other.pem", "other.test", days=300)
    return shared_balancer(
        frontend={
            "listen": [{"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(folder / "site.pem")}}], **OK
        },
        frontends={"other": {
            "listen": [{"address": f"127.0.0.1:{free_port()}", "tls": {"cert": str(folder / "other.pem")}}], **OK
        }},
        global_={"workers": 2},
        admin={"socket": str(folder / "admin.sock")},
    )  # fmt: skip


class Api(http.client.HTTPConnection):
    """The admin interface on its Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("fastlb", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        self.request(method, path)
        answer = self.getresponse()
        body = answer.read()
        text = answer.headers.get_content_type().endswith("json")
        return answer.status, json.loads(body) if text else body.decode()


@pytest.fixture
def api(renewing: Balancer, folder: Path) -> Iterator[Api]:
    one = Api(folder / "admin.sock")
    yield one
    one.close()


def serial(lb: Balancer, frontend: str = "web") -> int:
    with handshake(lb, frontend) as s:
        return shown(s).serial_number


class Load:
    """Requests on kept connections and on new ones, until told to stop. Anything but 200 is a failure."""

    def __init__(self, lb: Balancer) -> None:
        self.lb = lb
        self.requests = 0
        self.serials: set[int] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(kept,)) for kept in (True, False)]

    def _run(self, kept: bool) -> None:
        try:
            while not self._stop.is_set():
                with handshake(self.lb) as s:
                    self.serials.add(shown(s).serial_number)
                    for _ in range(20 if kept else 1):
                        s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                        got = b""
                        while not got.endswith(b"\r\n\r\nok"):
                            data = s.recv(4096)
                            assert data, f"connection ended after {got!r}"
                            got += data
                        assert got.startswith(b"HTTP/1.1 200 ")
                        self.requests += 1
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_replaced_again_and_again_under_load(renewing: Balancer, api: Api, folder: Path, authority: Authority) -> None:
    other, pids = serial(renewing, "other"), renewing.engines()
    with Load(renewing) as load:
        for _ in range(REPLACED):
            made = authority.issue(folder / "site.pem", "a.test", days=20)
            status, answer = api.ask("POST", "/v1/certificates/reload")
            assert status == 200, answer
            # Both workers, and from the answer on.
            assert {serial(renewing) for _ in range(6)} == {made.serial_number}
        count = load.requests
        wait_until(lambda: load.requests > count, what="requests after the last replacement")
    print(f"{REPLACED} replacements, {load.requests} requests, {len(load.serials)} certificates seen")
    assert not load.failures
    assert len(load.serials) > 1
    assert serial(renewing, "other") == other
    assert renewing.engines() == pids


def test_a_file_that_changes_is_noticed(renewing: Balancer, api: Api, folder: Path, authority: Authority) -> None:
    made = authority.issue(folder / "site.pem", "a.test", days=20)
    wait_until(lambda: serial(renewing) == made.serial_number, what="the new certificate")


def test_a_broken_file_changes_nothing(renewing: Balancer, api: Api, folder: Path, authority: Authority) -> None:
    before, good = serial(renewing), (folder / "site.pem").read_bytes()
    (folder / "site.pem").write_bytes(good[: len(good) // 2])
    status, answer = api.ask("POST", "/v1/certificates/reload")
    assert status == 422
    assert "site.pem" in answer["detail"]
    assert serial(renewing) == before
    # A worker that is replaced meanwhile gets the certificate that was good last.
    victim = renewing.engines()[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in renewing.engines() and len(renewing.engines()) == 2, what="another worker")
    wait_until(lambda: all(one["state"] == "ready" for one in api.ask("GET", "/v1/workers")[1]["workers"]))
    assert {serial(renewing) for _ in range(6)} == {before}
    (folder / "site.pem").write_bytes(good)
    assert api.ask("POST", "/v1/certificates/reload")[0] == 200


def test_how_long_certificates_last(renewing: Balancer, api: Api) -> None:
    now = serial(renewing)
    first, second = api.ask("GET", "/v1/certificates")[1]["certificates"]
    assert (first["frontend"], first["names"], first["key"]) == ("web", ["a.test"], "ecdsa")
    assert int(first["serial"], 16) == now
    assert 19 < first["days_left"] <= 20 < second["days_left"]
    metrics = api.ask("GET", "/metrics")[1]
    line = next(one for one in metrics.splitlines() if one.startswith("fastlb_tls_") and 'proxy="web"' in one)
    assert 'name="a.test"' in line
    assert renewing.complained(r"certificate for a\.test .* ends on .*, in (19|20) days")
    config = json.dumps(api.ask("GET", "/v1/config")[1])
    assert "PRIVATE" not in config
    assert "CERTIFICATE" not in config


def reconnects(lb: Balancer, version: str, count: int = 10, session: Path | None = None) -> int:
    """How many of `count` connections resume the session of the first one, which openssl makes and writes to a file."""
    assert session is not None
    address = f"127.0.0.1:{lb.ports['web']}"
    base = [need("openssl"), "s_client", "-connect", address, "-servername", "a.test", f"-{version}", "-ign_eof"]
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    if not session.exists():
        subprocess.run([*base, "-sess_out", session], input=request, capture_output=True, check=True, timeout=20)
    reused = 0
    for _ in range(count):
        told = subprocess.run(
            [*base, "-sess_in", session], input=request, capture_output=True, check=True, timeout=20
        ).stdout
        assert b"HTTP/1.1 200" in told
        reused += b"\nReused, " in told
    return reused


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_sessions_resume_on_every_worker_and_after_a_reload(
    renewing: Balancer, api: Api, tmp_path: Path, version: str
) -> None:
    session = tmp_path / "session"
    assert reconnects(renewing, version, session=session) == 10
    assert api.ask("POST", "/v1/reload")[0] == 200
    assert reconnects(renewing, version, 4, session=session) == 4
    victim = renewing.engines()[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in renewing.engines() and len(renewing.engines()) == 2, what="another worker")
    wait_until(lambda: all(one["state"] == "ready" for one in api.ask("GET", "/v1/workers")[1]["workers"]))
    assert reconnects(renewing, version, 4, session=session) == 4


def test_get_over_a_resumed_session(renewing: Balancer) -> None:
    with handshake(renewing, maximum_version=ssl.TLSVersion.TLSv1_2) as s:
        assert get(s).endswith("ok")
        session, context = s.session, s.context
    plain = socket.create_connection(("127.0.0.1", renewing.ports["web"]), timeout=10)
    with context.wrap_socket(plain, server_hostname="a.test", session=session) as s:
        assert s.session_reused
        assert get(s).endswith("ok")
        assert isinstance(shown(s), x509.Certificate)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_each_connection_resumes_the_one_before(renewing: Balancer, version: ssl.TLSVersion) -> None:
    """A client of TLS 1.3 uses a ticket once: a resumed connection has to bring the next one."""
    with handshake(renewing, minimum_version=version, maximum_version=version) as s:
        assert get(s).endswith("ok")
        session, context = s.session, s.context
    for _ in range(5):
        plain = socket.create_connection(("127.0.0.1", renewing.ports["web"]), timeout=10)
        with context.wrap_socket(plain, server_hostname="a.test", session=session) as s:
            assert s.session_reused
            assert get(s).endswith("ok")
            session = s.session
