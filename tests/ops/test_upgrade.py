"""Binary upgrade: another process takes over, and nobody but the operator notices."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from fastlb.control.sockets import Inherited
from fastlb.runtime.handover import Handover, _packed, _unpacked
from fastlb.spec import Address, Server, ServerChange, ServerState
from fastlb.testing import Delay, Origin, RawClient, by_path, respond
from fastlb.testing.client import ConnectionEnded
from tests.helpers import FASTLB, ROOT, Program, free_port, wait_until

from .conftest import Manager, Served, certificate, config, get
from .load import Load


def ask(path: Path, method: str, target: str, data: object = None) -> dict:
    body = b"" if data is None else json.dumps(data).encode()
    with RawClient(str(path), timeout=30) as client:
        fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        client.send(f"{method} {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode() + body)
        return json.loads(client.response().body)


class Scraper:
    """Reads the number of requests of the frontend `web` again and again, while the `with` lasts."""

    def __init__(self, admin: Path) -> None:
        self._admin = admin
        self.seen: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def read(self) -> str:
        """Of whoever answers; a process that ends may cut its connections."""
        while True:
            try:
                with RawClient(str(self._admin), timeout=30) as client:
                    return client.get("/metrics", [("Connection", "close")]).body.decode()
            except (ConnectionEnded, ConnectionError):
                if self._over.wait(0.02):
                    raise

    def look(self) -> int:
        return sum(map(int, re.findall(r'^fastlb_frontend_requests_total{proxy="web",code="[^"]*"} (\d+)$',
                                       self.read(), re.MULTILINE)))  # fmt: skip

    def totals(self) -> tuple[int, int]:
        """Durations counted for the frontend; requests that servers were counted with."""
        text = self.read()
        timed = re.search(r'^fastlb_frontend_total_time_seconds_count{proxy="web"} (\d+)$', text, re.MULTILINE)
        served = re.findall(r'^fastlb_server_requests_total{proxy="app",.*} (\d+)$', text, re.MULTILINE)
        assert timed, text
        return int(timed[1]), sum(map(int, served))

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self.seen.append(self.look())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def taken_over(program: Program, start: int = 0) -> int:
    """Process id of the successor."""
    return int(program.wait_line(r"process (\d+) has taken over", 40, start)[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_upgrades_under_load(start, tmp_path: Path, port: int, manager: Manager) -> None:
    pid_file, admin, local = tmp_path / "pid", tmp_path / "admin.sock", tmp_path / "web.sock"
    check = "health_check = { path = '/h', interval = '100ms', fall = 1, rise = 1000 }"
    sick = Origin(by_path({"/h": respond("", 503)}, respond("sick")))
    with Origin(respond("one")) as one, Origin(respond("two")) as two, sick:
        more = f"[admin]\nsocket = '{admin}'\n[frontends.local]\nlisten = 'unix:{local}'\nbackend = 'app'"
        text = config(port, one, two, sick, backend=check, more=more, global_=f"pid_file = '{pid_file}'")
        environment = {"NOTIFY_SOCKET": manager.path}
        served = Served(lambda argv, **rest: start(argv, env=environment, **rest), tmp_path, text)
        first, workers = served.program.pid, served.workers
        served.program.wait_line(f"server app/{sick.name} is DOWN")
        ask(admin, "PATCH", f"/v1/backends/app/servers/{two.name}", {"state": "drain", "reason": "disk"})
        with Load(port, kept=4, new=3) as load, Scraper(admin) as scraper:

            def more_requests() -> None:
                done = load.seen.requests
                wait_until(lambda: load.seen.requests > done + 100, 30, "further requests")

            more_requests()
            told = len(manager.told)
            served.program.send(signal.SIGUSR2)
            second = taken_over(served.program)
            assert manager.wait("MAINPID", told)["MAINPID"] == str(second)
            main = next(n for n, m in enumerate(manager.told) if "MAINPID" in m)
            manager.wait("READY", main)  # from the new one, once it is the service
            more_requests()
            assert pid_file.read_text() == f"{second}\n"
            wait_until(lambda: not alive(first), 30, "the end of the old process")
            assert served.program.wait() == 0
            assert not any(alive(pid) for pid in workers)
            assert not any("STOPPING" in m for m in manager.told)
            more_requests()

            # again, by command; it hands on what it was handed
            script = start([*FASTLB, "upgrade", "--socket", admin], cwd=ROOT)
            assert script.wait(60) == 0
            third = taken_over(script)
            wait_until(lambda: not alive(second), 30, "the end of the second process")
            more_requests()
        assert not load.seen.failures
        # every one of the requests is counted, and no look at the counters saw them go back
        wait_until(lambda: scraper.look() == load.seen.requests, 20, f"{load.seen.requests} requests counted")
        assert scraper.seen == sorted(scraper.seen) and len(set(scraper.seen)) > 3
        answered, timed = scraper.totals()
        assert answered == timed == load.seen.requests  # of the histogram, and of the server that is up
        assert pid_file.read_text() == f"{third}\n"
        with RawClient(str(local)) as client:
            assert client.get("/").body == b"one"
        assert {get(port).body for _ in range(8)} == {b"one"}  # one drained, one down, as it was before
        states = {s["name"]: s["state"] for s in ask(admin, "GET", "/v1/backends/app/servers")["servers"]}
        assert states == {one.name: "UP", two.name: "DRAIN", sick.name: "DOWN"}
        (change,) = ask(admin, "GET", "/v1/changes")["changes"]
        assert (change["state"], change["reason"]) == ("drain", "disk")
        os.kill(third, signal.SIGTERM)
        wait_until(lambda: not alive(third), 30, "the end of the third process")
        assert not pid_file.exists()
        assert not admin.exists()
        assert not local.exists()


def test_what_is_in_flight_ends_on_the_old_one(serve, port: int) -> None:
    with Origin([Delay(1.5), *respond("slow")]) as slow:
        served = serve(config(port, slow, workers=1))
        with RawClient(("127.0.0.1", port), timeout=30) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            slow.wait_requests(1)
            served.program.send(signal.SIGUSR2)
            answer = client.response()
            assert (answer.status, answer.body) == (200, b"slow")
        successor = taken_over(served.program)
        assert served.program.wait(20) == 0
        assert get(port).body == b"slow"
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not alive(successor), 30, "the end of the new process")


def test_datagrams_go_on(serve, port: int) -> None:
    """Their sockets are handed over, too; the TCP port of the same number is another one."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        Origin(respond("web")) as origin,
    ):
        server.bind(("127.0.0.1", 0))
        names = f"127.0.0.1:{server.getsockname()[1]}"
        place = free_port(kind=socket.SOCK_DGRAM)
        more = f"""[frontends.dns]
mode = "udp"
listen = "127.0.0.1:{place}"
backend = "names"
[backends.names]
mode = "udp"
servers = ["{names}"]"""
        served = serve(config(port, origin, more=more))
        client.connect(("127.0.0.1", place))

        def ask(text: bytes) -> bytes:
            client.send(text)
            data, sender = server.recvfrom(100)
            server.sendto(data.upper(), sender)
            return client.recv(100)

        for sock in (server, client):
            sock.settimeout(30)
        assert ask(b"one") == b"ONE"
        served.program.send(signal.SIGUSR2)
        successor = taken_over(served.program)
        assert served.program.wait(60) == 0
        assert ask(b"two") == b"TWO"
        assert get(port).body == b"web"
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not alive(successor), 60, "the end of the new process")


def test_sessions_and_cookies_stay_valid(serve, port: int, tmp_path: Path) -> None:
    """TLS sessions resume on the new process, and the cookie of an affinity leads to the same server."""
    pem = certificate(tmp_path / "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its session is there with the handshake

    def ask(session: ssl.SSLSession | None, cookie: str) -> tuple[ssl.SSLSession | None, bool | None, str, bytes]:
        """Session, whether it is the one given, cookie, server."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as sock,
            context.wrap_socket(sock, server_hostname="localhost", session=session) as wire,
        ):
            more = f"Cookie: {cookie}\r\n" if cookie else ""
            wire.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n".encode())
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
            given = re.search(rb"(?mi)^set-cookie: ([^;\r]*)", answer)
            return wire.session, wire.session_reused, given[1].decode() if given else "", answer[-1:]

    with Origin(respond("a")) as one, Origin(respond("b")) as two:
        text = config(port, one, two, backend="affinity = 'cookie'")
        text = text.replace(f"['127.0.0.1:{port}']", f"{{ address = '127.0.0.1:{port}', tls = {{ cert = '{pem}' }} }}")
        served = serve(text)
        session, reused, cookie, server = ask(None, "")
        assert (reused, bool(cookie)) == (False, True)
        served.program.send(signal.SIGUSR2)
        successor = taken_over(served.program)
        assert served.program.wait(20) == 0
        for _ in range(6):
            _, reused, _, again = ask(session, cookie)
            assert (reused, again) == (True, server)
        os.kill(successor, signal.SIGTERM)
        wait_until(lambda: not alive(successor), 30, "the end of the new process")


def test_a_failing_upgrade_changes_nothing(serve, port: int, tmp_path: Path) -> None:
    admin, pid_file = tmp_path / "admin.sock", tmp_path / "pid"
    more = f"[admin]\nsocket = '{admin}'"
    with Origin(respond("x")) as origin, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        served = serve(config(port, origin, more=more, global_=f"pid_file = '{pid_file}'"))
        pids = served.workers
        good = served.file.read_text()
        for broken, reason in (
            ("nonsense", "it left with status 2"),
            (good.replace(f":{port}", f":{taken.getsockname()[1]}"), "it left with status 1"),
            (good + "\n[log2]\n", "it left with status 2"),
        ):
            served.write(broken)
            answer = ask(admin, "POST", "/v1/upgrade")
            assert answer["status"] == 409
            assert re.search(rf"the upgrade failed and nothing is changed: .*{reason}", answer["detail"])
            assert get(port).body == b"x"
        assert pid_file.read_text() == f"{served.program.pid}\n"
        assert served.workers == pids
        assert ask(admin, "GET", "/v1/info")["pid"] == served.program.pid
        served.write(good)
        assert "runs" in served.reload()  # all as it was


def test_what_is_handed_over_arrives() -> None:
    added = Server("s", Address("10.0.0.9", 80), backup=True)
    changes = [
        ServerChange("app", Address("10.0.0.1", 80), "a", state=ServerState.MAINT, weight=0, reason="why"),
        ServerChange("app", Address(path="/run/x"), "b", removed=True),
        ServerChange("app", added.address, "s", max_connections=7, added=added),
    ]
    up = {("app", Address("10.0.0.1", 80)): False, ("app", Address(path="/run/x")): True}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = Inherited((int(socket.AF_INET), ("127.0.0.1", 0)), (listening,), ("/run/y", 1, 2))
        raw, fds = _packed(Handover([one], changes, up, (b"k" * 80, b"l" * 80), 7.5, b"s" * 32))
        assert fds == [listening.fileno()]
        raw["sockets"][0]["fds"] = [os.dup(listening.fileno())]
        found = _unpacked(json.loads(json.dumps(raw)))
        (got,) = found.sockets
        assert (got.asked, got.unlink) == (one.asked, one.unlink)
        assert got.sockets[0].getsockname() == listening.getsockname()
        got.sockets[0].close()
    assert (list(found.changes), dict(found.up)) == (changes, up)
    assert (list(found.tickets), found.tickets_age, found.secret) == ([b"k" * 80, b"l" * 80], 7.5, b"s" * 32)
    for key in ("tickets", "tickets_age", "secret"):  # of a version that does not tell them
        del raw[key]
    raw["sockets"] = []
    assert (list(_unpacked(raw).tickets), _unpacked(raw).secret) == ([], b"")
