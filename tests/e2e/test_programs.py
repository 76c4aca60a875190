"""fastlb between programs that others wrote: nginx, uvicorn, gunicorn behind it; curl, wrk, ab in front."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import SLOWNESS, Program, free_port, need, wait_until

from .balancer import Balancer, Balancers, Logged

MB = 1_000_000


def run(*command: str | Path, stdin: Path | None = None, timeout: float = 60) -> str:
    """Output of a program that must succeed."""
    with open(stdin or os.devnull, "rb") as source:
        ran = subprocess.run(
            command, stdin=source, capture_output=True, text=True, timeout=timeout * SLOWNESS, check=False,
            env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},  # a sanitizer's, for our own programs
        )  # fmt: skip
    assert ran.returncode == 0, f"{command[0]} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of 100 MB that does not compress, and its SHA-256."""
    path = tmp_path_factory.mktemp("large") / "100mb"
    block = b"".join(hashlib.sha256(bytes([i])).digest() * 4 for i in range(250))
    with path.open("wb") as file:
        for i in range(100 * MB // 32_000):
            file.write(i.to_bytes(8, "big") + block[8:])
    with path.open("rb") as file:
        return path, hashlib.file_digest(file, "sha256").hexdigest()


NGINX = """
daemon off; master_process off; worker_rlimit_nofile 4096; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
    access_log off; client_max_body_size 0; keepalive_requests 1000000; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/root;
        location = /small {{ return 200 "small\\n"; }}
        location /put/ {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


class Nginx:
    """An nginx that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.program_path = need("nginx")
        self.port = free_port()
        self.folder = folder
        (folder / "root").mkdir()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=self.port))
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.program = Program([self.program_path, "-c", self.folder / "nginx.conf", "-p", self.folder])
        self.program.wait_port(("127.0.0.1", self.port))

    def kill(self) -> None:
        self.program.process.kill()
        self.program.wait()


@pytest.fixture
def nginxes(tmp_path: Path) -> Iterator[Callable[[], Nginx]]:
    started: list[Nginx] = []

    def begin() -> Nginx:
        folder = tmp_path / f"nginx{len(started)}"
        folder.mkdir()
        started.append(Nginx(folder))
        return started[-1]

    yield begin
    for one in started:
        one.program.stop()


# --- large bodies


@pytest.mark.slow
def test_100_mb_down_and_up_through_nginx(
    balancer: Balancers, nginxes: Callable[[], Nginx], large: tuple[Path, str], tmp_path: Path
) -> None:
    curl = need("curl")
    path, digest = large
    nginx = nginxes()
    os.link(path, nginx.folder / "root" / "large")
    lb = balancer(nginx.address, global_={"workers": 1})
    run(curl, "-sSf", "-o", tmp_path / "down", f"{lb.url}/large")
    assert digest_of(tmp_path / "down") == digest
    assert lb.logged("/large").status == 200
    before = lb.memory()
    run(curl, "-sSf", "-T", path, f"{lb.url}/put/up")
    assert digest_of(nginx.folder / "root" / "put" / "up") == digest
    # chunked: curl does not know the length of its standard input
    run(curl, "-sSf", "-T", "-", f"{lb.url}/put/chunked", stdin=path)
    assert digest_of(nginx.folder / "root" / "put" / "chunked") == digest
    run(curl, "-sSf", "--http1.0", "-r", "1000-50999999", "-o", tmp_path / "part", f"{lb.url}/large")
    assert (tmp_path / "part").stat().st_size == 50_999_000
    assert lb.memory() - before < 5 * MB


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- Python servers

APPLICATION = '''
import hashlib

async def app(scope, receive, send):
    """ASGI: /stream answers in chunks, /sum with the digest of what it got."""
    assert scope["type"] == "http"
    digest = hashlib.sha256()
    more = True
    while more:
        event = await receive()
        digest.update(event.get("body", b""))
        more = event.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/stream":
        for i in range(1000):
            await send({"type": "http.response.body", "body": b"%05d\\n" % i, "more_body": True})
        await send({"type": "http.response.body", "body": b"end\\n"})
    else:
        await send({"type": "http.response.body", "body": digest.hexdigest().encode()})

def wsgi(environ, start_response):
    """WSGI: the same."""
    digest = hashlib.sha256()
    while block := environ["wsgi.input"].read(65536):
        digest.update(block)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/stream":
        return (b"%05d\\n" % i if i < 1000 else b"end\\n" for i in range(1001))
    return [digest.hexdigest().encode()]
'''
STREAM = "".join(f"{i:05d}\n" for i in range(1000)) + "end\n"


@pytest.fixture
def application(tmp_path: Path, start: Callable[..., Program]) -> Callable[[str], str]:
    """Starts the application in one of the servers; returns its address."""
    (tmp_path / "application.py").write_text(APPLICATION)

    def begin(server: str) -> str:
        port = free_port()
        module = server.partition(" ")[0]
        pytest.importorskip(module)
        options = {
            "uvicorn": ["application:app", "--port", str(port), "--log-level", "warning"],
            "gunicorn sync": ["application:wsgi", "-b", f"127.0.0.1:{port}", "-w", "2"],
            "gunicorn gthread": ["application:wsgi", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "4"],
        }[server]
        start([sys.executable, "-m", module, *options], cwd=tmp_path).wait_port(("127.0.0.1", port), timeout=20)
        return f"127.0.0.1:{port}"

    return begin


@pytest.mark.slow
@pytest.mark.parametrize("server", ["uvicorn", "gunicorn sync", "gunicorn gthread"])
def test_python_servers(
    balancer: Balancers, application: Callable[[str], str], large: tuple[Path, str], server: str
) -> None:
    curl, ab = need("curl"), need("ab", "apache2-utils")
    path, digest = large
    lb = balancer(application(server), global_={"workers": 1})
    assert run(curl, "-sSf", "-T", path, f"{lb.url}/sum") == digest
    assert run(curl, "-sSf", "-T", "-", "-H", "Expect:", f"{lb.url}/sum", stdin=path) == digest
    assert run(curl, "-sSf", f"{lb.url}/stream") == STREAM
    assert run(curl, "-sSf", "--http1.0", f"{lb.url}/stream") == STREAM  # without chunks
    assert run(curl, "-sSf", *[f"{lb.url}/stream"] * 20) == STREAM * 20
    for options in ((), ("-k",)):
        report = run(ab, "-q", *options, "-n", "300", "-c", "10", f"{lb.url}/stream")
        assert re.search(r"Complete requests: +300\n", report), report
        assert re.search(r"Failed requests: +0\n", report), report
        assert "Non-2xx" not in report, report
        assert f"Document Length:        {len(STREAM)} bytes" in report, report


# --- load


def wrk(lb: Balancer, *options: str, path: str = "/small", seconds: int = 2) -> list[str]:
    return [need("wrk"), "-t", "1", "-d", f"{seconds}s", "--latency", *options, f"{lb.url}{path}"]


def spotless(report: str) -> int:
    """Requests that wrk made, none of which may have failed."""
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    return int(re.search(r"(\d+) requests in", report)[1])  # type: ignore[index]


@pytest.mark.slow
def test_wrk_and_ab_on_nginx(balancer: Balancers, nginxes: Callable[[], Nginx]) -> None:
    one, two = nginxes(), nginxes()
    lb = balancer(one.address, two.address, global_={"workers": 2}, log={"access": "off"})
    before = lb.descriptors()
    assert spotless(run(*wrk(lb, "-c", "64"))) > 1000
    ab = need("ab", "apache2-utils")
    for options in ((), ("-k",)):
        report = run(ab, "-q", *options, "-n", "3000", "-c", "20", f"{lb.url}/small")
        assert re.search(r"Failed requests: +0\n", report), report
        assert re.search(r"Keep-Alive requests: +3000\n", report) or not options, report
    one.program.stop()
    two.program.stop()
    lb.settled(before)  # nothing is left of clients and servers


@pytest.mark.slow
def test_server_killed_and_returned_under_load(
    balancer: Balancers, nginxes: Callable[[], Nginx], tmp_path: Path
) -> None:
    servers = [nginxes(), nginxes(), nginxes()]
    log = tmp_path / "access.log"
    lb = balancer(
        *(s.address for s in servers),
        global_={"workers": 2},
        log={"access": str(log), "format": "httplog"},
    )

    def lines(server: str) -> int:
        return log.read_text().count(f"app/{server} ")

    load = Program(wrk(lb, "-c", "32", seconds=5))
    try:
        for i, server in enumerate(servers[:2]):
            wait_until(lambda i=i: lines(f"s{i}") > 100, what="requests on the server")  # type: ignore[misc]
            server.kill()
            so_far = lines("s2")
            wait_until(lambda n=so_far: lines("s2") > n + 500, what="requests on another server")  # type: ignore[misc]
            server.start()
            so_far = lines(f"s{i}")
            wait_until(lambda i=i, n=so_far: lines(f"s{i}") > n + 100, what="requests on the returned server")  # type: ignore[misc]
        assert load.wait(30) == 0
        spotless(load.output)
    finally:
        load.stop()
    lb.stop()
    ends = {Logged.read(line).term for line in log.read_text().splitlines()}
    assert ends <= {"----", "CD--", "CH--"}, ends  # wrk leaves at its end
