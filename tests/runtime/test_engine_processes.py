"""`fastlb serve` with the real engine: shared numbers over workers, sudden deaths, drain, health, as a user runs it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlb._core.region import UP, Region
from fastlb.testing import Delay, Hang, Origin, RawClient, Reset, WaitFor, by_path, respond
from tests.helpers import FASTLB, ROOT, Program, free_port, wait_until


class Served:
    """A running `fastlb serve -c FILE`."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.address = ("127.0.0.1", port)

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.program.pid}/task/{self.program.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def region(self) -> Region:
        """The live region of this balancer."""
        folder = Path(f"/proc/{self.program.pid}/fd")
        for fd in folder.iterdir():
            if os.readlink(fd).startswith("/memfd:fastlb"):
                return Region.attach(os.open(fd, os.O_RDWR))
        raise AssertionError("the supervisor has no region open")

    def get(self, target: str = "/"):
        with RawClient(self.address, timeout=20) as client:
            return client.get(target, [("Connection", "close")])


@pytest.fixture
def serve(start: Callable[..., Program], tmp_path: Path) -> Callable[..., Served]:
    def begin(*origins: Origin, workers: int = 2, backend: str = "", frontend: str = "") -> Served:
        port = free_port()
        servers = ", ".join(f'"{origin.name}"' for origin in origins)
        file = tmp_path / "lb.toml"
        file.write_text(
            f"[global]\nworkers = {workers}\n[log]\naccess = 'off'\n"
            f"[frontends.web]\nlisten = ['127.0.0.1:{port}']\nbackend = 'app'\n{frontend}\n"
            f"[backends.app]\nservers = [{servers}]\n{backend}\n"
        )
        program = start([*FASTLB, "serve", "-c", file], cwd=ROOT)
        program.wait_line("fastlb ready", 20)
        return Served(program, port)

    return begin


def clients(served: Served, count: int, target: str) -> list[RawClient]:
    """Connections with one request each in flight."""
    opened = [RawClient(served.address, timeout=20) for _ in range(count)]
    for client in opened:
        client.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
    return opened


def test_in_flight_counts_hold_over_workers_and_deaths(serve) -> None:
    with Origin(by_path({"/hang": [Hang()]}, respond("ok"))) as origin:
        served = serve(origin, workers=2)
        region = served.region()
        open_clients = clients(served, 20, "/hang")
        origin.wait_requests(20)
        assert region.inflight(0) == 20
        shares = [region.owned(w, 0) for w in (0, 1)]
        assert sum(shares) == 20
        assert all(shares), "one worker took all connections"
        pids = [region.worker_status(w).pid for w in (0, 1)]

        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: region.inflight(0) == shares[1], 10, "the dead worker's share to be given back")
        assert region.owned(0, 0) == 0
        os.kill(pids[1], signal.SIGKILL)
        wait_until(lambda: region.inflight(0) == 0, 10, "nothing in flight")
        for client in open_clients:
            client.close()
        assert served.get().body == b"ok"
        wait_until(lambda: region.inflight(0) == 0, 10, "nothing in flight after a whole request")


def test_exact_round_robin_over_workers(serve) -> None:
    with Origin(respond("a")) as a, Origin(respond("b")) as b, Origin(respond("c")) as c:
        served = serve(a, b, c, workers=2, backend="balance = 'round_robin'")
        for _ in range(60):
            assert served.get().status == 200
        assert [len(o.requests) for o in (a, b, c)] == [20, 20, 20]


def test_limit_of_a_server_holds_over_workers(serve) -> None:
    """Eight at once over two workers with a limit of three: never more than three on the origin, and all are served."""
    with Origin([Delay(0.05), *respond("x")]) as origin:
        served = serve(origin, workers=2, backend="max_connections = 3")
        highest = 0
        done = threading.Event()
        region = served.region()

        def watch() -> None:
            nonlocal highest
            while not done.is_set():
                highest = max(highest, region.inflight(0))
                time.sleep(0.001)

        watcher = threading.Thread(target=watch)
        watcher.start()
        opened = clients(served, 8, "/")
        answers = [client.response().body for client in opened]
        done.set()
        watcher.join()
        for client in opened:
            client.close()
        assert answers == [b"x"] * 8
        assert highest <= 3


def test_killed_worker_under_load_costs_only_its_requests(serve) -> None:
    with Origin() as origin:
        served = serve(origin, workers=2)
        region = served.region()
        failures: list[Exception] = []
        served_requests = 0
        stop = threading.Event()
        lock = threading.Lock()

        def load() -> None:
            nonlocal served_requests
            while not stop.is_set():
                try:
                    assert served.get().status == 200
                    with lock:
                        served_requests += 1
                except Exception as error:
                    with lock:
                        failures.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for round_ in range(4):
                victim = region.worker_status(round_ % 2).pid
                os.kill(victim, signal.SIGKILL)
                killed = time.monotonic()
                wait_until(
                    lambda v=victim, r=round_: (
                        region.worker_status(r % 2).pid not in (0, v) and region.worker_status(r % 2).state == 2
                    ),
                    10,
                    "the replacement",
                )
                print(f"replaced after {time.monotonic() - killed:.2f} s")
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert served_requests > 20
        # a client has at most one request in flight on the killed worker
        assert len(failures) <= 4 * 4, failures


def test_totals_never_go_back_when_a_worker_dies(serve) -> None:
    with Origin() as origin:
        served = serve(origin, workers=1)
        region = served.region()
        for _ in range(10):
            served.get()
        # counted after the last byte is sent
        wait_until(lambda: region.frontend_totals(0)[3] == 10, 10, "ten requests counted")
        os.kill(region.worker_status(0).pid, signal.SIGKILL)
        for _ in range(5):
            served.get()
        wait_until(lambda: region.frontend_totals(0)[3] == 15, 10, "fifteen requests counted")


def test_drain_answers_what_is_in_flight_with_close(serve) -> None:
    go = threading.Event()
    with Origin([WaitFor(go), *respond("late")]) as origin:
        served = serve(origin, workers=2)
        # enough that each worker has some: their ends tell that all workers drain
        idle = [RawClient(served.address, timeout=20) for _ in range(16)]
        busy = clients(served, 3, "/")
        origin.wait_requests(3)
        served.program.send(signal.SIGTERM)
        served.program.wait_line("draining")
        assert all(client.at_end() for client in idle)
        assert served.program.process.poll() is None
        go.set()
        for client in busy:
            response = client.response()
            assert (response.status, response.body, response.header("connection")) == (200, b"late", "close")
            assert client.at_end()
            client.close()
        for client in idle:
            client.close()
        assert served.program.wait() == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_drain_serves_what_waits_in_queues(serve, workers: int) -> None:
    """Connections that the kernel took while the process stood still, and a request that nobody has read yet."""
    with Origin() as origin:
        served = serve(origin, workers=workers)
        kept = RawClient(served.address, timeout=20)
        assert kept.get("/").status == 200
        pids = served.workers or [served.program.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        waiting = [kept, *clients(served, 100, "/")]
        served.program.send(signal.SIGTERM)
        if workers:
            served.program.wait_line("draining")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        for client in waiting:
            assert client.response().status == 200
            client.close()
        assert served.program.wait() == 0


def test_quit_stops_at_once(serve) -> None:
    with Origin([Hang()]) as origin:
        served = serve(origin, workers=2)
        busy = clients(served, 3, "/")
        origin.wait_requests(3)
        pids = served.workers
        served.program.send(signal.SIGQUIT)
        assert served.program.wait(5) == 0
        for client in busy:
            assert client.read_all() == b""
            client.close()
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_killed_supervisor_leaves_no_worker(serve) -> None:
    go = threading.Event()
    with Origin([WaitFor(go), *respond("late")]) as origin:
        served = serve(origin, workers=2)
        (client,) = clients(served, 1, "/")
        origin.wait_requests(1)
        pids = served.workers
        served.program.send(signal.SIGKILL)
        served.program.process.wait()
        go.set()
        assert client.response().body == b"late"
        client.close()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "the end of the workers")


CHECK = "[backends.app.health_check]\npath = '/health'\ninterval = '50ms'\ntimeout = '2s'\nrise = 2\nfall = 2\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_health_checks_take_a_server_out_and_back(serve, workers: int) -> None:
    good, bad = respond("ok"), by_path({"/health": respond("no", 503)}, respond("sick"))
    with Origin(good) as one, Origin(good) as two:
        served = serve(one, two, workers=workers, backend=f"balance = 'round_robin'\n{CHECK}")
        served.program.wait_line("fastlb ready")
        one.script = bad
        served.program.wait_line(r"server app/\S+ is DOWN: L7STS \(status 503\) in \d+ ms; 1 of 2 servers up")
        wait_until(lambda: b"sick" not in {served.get().body for _ in range(6)}, 10, "no answer of the sick server")
        one.script = good
        served.program.wait_line(r"server app/\S+ is UP: L7OK")
        two.refuse()
        served.program.wait_line(r"server app/\S+ is DOWN: L4CON \(Connection refused\)")
        assert served.get().body == b"ok"
        one.refuse()
        served.program.wait_line("backend app has no server left")
        two.listen()
        served.program.wait_line(r"is UP: L7OK.*; 1 of 2 servers up", start=len(served.program.lines) - 1)
        wait_until(lambda: served.get().status == 200, 10, "service again")


def test_a_server_that_hangs_at_its_check_goes_by_timeout(serve) -> None:
    with Origin() as one, Origin(by_path({"/health": [Hang()]}, respond("x"))) as two:
        served = serve(one, two, workers=1, backend=CHECK.replace("'2s'", "'100ms'"))
        served.program.wait_line(r"is DOWN: L7TOUT \(no response within 0\.1 s\)")
        region = served.region()
        assert sorted(region.state(i) for i in (0, 1)) == [0, UP]


def test_resetting_server_is_down_for_the_check(serve) -> None:
    with Origin() as one, Origin(by_path({"/health": [Reset()]}, respond("x"))) as two:
        served = serve(one, two, workers=1, backend=CHECK)
        served.program.wait_line(r"is DOWN: L7RSP")
        assert served.get().status == 200
