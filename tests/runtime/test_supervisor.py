"""Real processes: a supervisor, its workers, signals, sudden deaths."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from fastlb.spec import Address, Server
from tests.helpers import accepts, free_port, wait_until


def alive(pid: int) -> bool:
    """True while the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(pids: set[int], timeout: float = 10.0) -> None:
    wait_until(lambda: not any(alive(p) for p in pids), timeout, f"the end of {pids}")


class Request(threading.Thread):
    """One GET in the background."""

    def __init__(self, running, target: str) -> None:
        super().__init__(daemon=True)
        self.running = running
        self.target = target
        self.body: str | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.body = self.running.get(self.target, timeout=30)
        except Exception as error:
            self.error = error

    def result(self) -> str:
        self.join(30)
        assert self.error is None, self.error
        assert self.body is not None
        return self.body


def in_flight(running, tmp_path: Path, name: str = "go") -> tuple[Request, Path]:
    """A request that a worker has begun; it ends when the file exists."""
    request = Request(running, f"/slow?{tmp_path / name}")
    wait_until(Path(f"{tmp_path / name}.begun").exists, 10, "the request in flight")
    return request, tmp_path / name


def test_ready_line_names_addresses_and_workers(supervise) -> None:
    running = supervise(workers=2)
    line = running.program.wait_line("fastlb ready").string
    assert line == f"fastlb ready: web on 127.0.0.1:{running.port}; 2 workers"
    assert len(running.pids()) == 2
    pid = int(running.get("/").split()[-1])
    assert pid in running.pids()


def test_connections_reach_every_worker(supervise) -> None:
    running = supervise(workers=2)
    seen = set()

    def both() -> bool:
        seen.add(running.get("/").split()[1])
        return seen == {"0", "1"}

    wait_until(both, 10, "an answer of each worker")


def test_no_workers_means_one_process(supervise) -> None:
    running = supervise(workers=0)
    assert "in one process" in running.program.output
    assert running.pids() == set()
    assert running.get("/") == f"worker 0 pid {running.program.pid}"
    running.program.send(signal.SIGTERM)
    assert running.program.wait() == 0


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drain_finishes_what_is_in_flight(supervise, tmp_path: Path, workers: int, number: signal.Signals) -> None:
    running = supervise(workers=workers)
    request, go = in_flight(running, tmp_path)
    running.program.send(number)
    wait_until(lambda: not accepts(("127.0.0.1", running.port)), 10, "no more listener")
    assert running.program.process.poll() is None
    go.touch()
    assert request.result().startswith("worker")
    assert running.program.wait() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_drain_has_an_end(supervise, tmp_path: Path, workers: int) -> None:
    running = supervise(workers=workers, drain=0.3)
    request, _ = in_flight(running, tmp_path)
    running.program.send(signal.SIGTERM)
    assert running.program.wait() == 0
    running.program.wait_line("still open after 0.3 s")
    request.join(10)
    assert request.body is None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "numbers", [(signal.SIGQUIT,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGQUIT)]
)
def test_stop_at_once(supervise, tmp_path: Path, workers: int, numbers) -> None:
    running = supervise(workers=workers, drain=60)
    request, _ = in_flight(running, tmp_path)
    pids = running.pids()
    running.program.send(numbers[0])
    for number in numbers[1:]:
        running.program.wait_line("draining")  # two signals of a kind at once are one
        running.program.send(number)
    assert running.program.wait(5) == 0
    wait_gone(pids)
    request.join(10)
    assert request.body is None


def test_killed_worker_is_replaced_within_a_second(supervise) -> None:
    running = supervise(workers=1)
    (old,) = running.pids()
    os.kill(old, signal.SIGKILL)
    killed = time.monotonic()
    wait_gone({old})
    assert int(running.get("/").split()[-1]) != old  # waits in the queue of the slot's socket until then
    took = time.monotonic() - killed
    print(f"replaced after {took:.2f} s")  # a second at most on an idle machine
    running.program.wait_line(r"was killed by SIGKILL")


def test_no_connection_is_refused_while_a_worker_is_replaced(supervise) -> None:
    running = supervise(workers=1)
    for _ in range(3):
        (old,) = wait_until(running.pids, 10, "a worker")
        os.kill(old, signal.SIGKILL)
        requests = [Request(running, "/") for _ in range(10)]
        for request in requests:
            assert int(request.result().split()[-1]) != old


def test_what_a_dead_worker_held_is_given_back(supervise, tmp_path: Path) -> None:
    """The supervisor says how many requests it took off; that the numbers are right is tested with the region."""
    running = supervise(workers=1)
    (old,) = running.pids()
    mark = tmp_path / "held"
    Request(running, f"/hold?{mark}")
    wait_until(mark.exists, 10, "the request in flight")
    os.kill(old, signal.SIGKILL)
    running.program.wait_line(rf"pid {old}\) was killed by SIGKILL; 1 requests were on it")


def test_a_worker_that_ends_by_itself_is_replaced_too(supervise) -> None:
    running = supervise(workers=1)
    (old,) = running.pids()
    Request(running, "/exit")
    running.program.wait_line(rf"pid {old}\) left with status 3")
    assert int(running.get("/").split()[-1]) != old


def test_a_worker_that_stands_still_is_aborted_with_a_traceback(supervise) -> None:
    running = supervise(workers=1)
    (old,) = running.pids()
    Request(running, "/spin")
    running.program.wait_line(rf"pid {old}\) has not moved", 20)
    running.program.wait_line("Fatal Python error: Aborted")
    running.program.wait_line(r"File .*standin\.py.* in _answer")
    running.program.wait_line(rf"pid {old}\) was killed by SIGABRT")
    assert int(running.get("/").split()[-1]) != old


def test_workers_leave_when_the_supervisor_is_killed(supervise, tmp_path: Path) -> None:
    running = supervise(workers=2)
    pids = running.pids()
    request, go = in_flight(running, tmp_path)
    running.program.send(signal.SIGKILL)
    running.program.process.wait()
    wait_until(lambda: sum(alive(p) for p in pids) == 1, 10, "the idle worker's end")
    assert not accepts(("127.0.0.1", running.port))
    go.touch()
    assert request.result().startswith("worker")  # drained, not cut
    wait_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_workers_leave_signals_to_the_supervisor(supervise, number: signal.Signals) -> None:
    running = supervise(workers=1)
    (pid,) = running.pids()
    os.kill(pid, number)
    assert running.get("/") == f"worker 0 pid {pid}"


def test_usr1_reopens_logs_everywhere(supervise) -> None:
    running = supervise(workers=2)
    running.program.send(signal.SIGUSR1)
    running.program.wait_line("standin 0 reopened")
    running.program.wait_line("standin 1 reopened")


def test_hup_without_a_file_changes_nothing(supervise) -> None:
    running = supervise(workers=1)
    running.program.send(signal.SIGHUP)
    running.program.wait_line("there is no configuration file to read again")
    assert running.get("/").startswith("worker 0")


def test_a_worker_that_cannot_start_ends_it_with_the_reason(supervise) -> None:
    running = supervise(workers=1, wait=False, env={"STANDIN_DIES": "no engine in here"})
    assert running.program.wait(20) == 1
    assert "worker 0 did not start 5 times in a row: RuntimeError: no engine in here" in running.program.output
    assert "fastlb ready" not in running.program.output


def test_an_engine_in_process_that_cannot_start(supervise) -> None:
    running = supervise(workers=0, wait=False, env={"STANDIN_DIES": "no engine in here"})
    assert running.program.wait() == 1
    assert "the engine cannot start: RuntimeError: no engine in here" in running.program.output


@pytest.mark.parametrize("workers", [0, 2])
def test_address_in_use(supervise, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        running = supervise(workers=workers, port=other.getsockname()[1], wait=False)
        assert running.program.wait() == 1
    assert re.search(
        rf"frontends\.web\.listen\[0\] = .127\.0\.0\.1:{running.port}.: the address is in use", running.program.output
    )


def test_a_second_fastlb_of_the_same_user_is_refused(supervise) -> None:
    """SO_REUSEPORT alone would let it in, and half of the connections would be lost to it."""
    first = supervise(workers=2)
    second = supervise(workers=2, port=first.port, wait=False)
    assert second.program.wait() == 1
    assert "the address is in use" in second.program.output
    assert first.get("/").startswith("worker")


def test_restart_on_the_same_port_at_once(supervise) -> None:
    first = supervise(workers=1)
    assert first.get("/").startswith("worker")  # leaves TIME_WAIT behind
    first.program.send(signal.SIGTERM)
    assert first.program.wait() == 0
    second = supervise(workers=1, port=first.port)
    assert second.get("/").startswith("worker")


def test_all_addresses_that_fail_are_named(supervise) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        running = supervise(
            wait=False,
            listen=(Address("127.0.0.1", taken), Address("192.0.2.1", 80), Address("127.0.0.1", free_port())),
        )
        assert running.program.wait() == 1
    assert "listen[0]" in running.program.output
    assert re.search(r"listen\[1\] = .192\.0\.2\.1:80.: not an address of this machine", running.program.output)
    assert "listen[2]" not in running.program.output


def test_descriptor_limit_is_raised_and_inherited(supervise) -> None:
    running = supervise(workers=1)
    (worker,) = running.pids()
    for pid in (running.program.pid, worker):
        line = re.search(r"Max open files\s+(\d+)\s+(\d+)", Path(f"/proc/{pid}/limits").read_text())
        assert line is not None
        assert line[1] == line[2]


def test_workers_hold_no_descriptor_that_is_not_theirs(supervise) -> None:
    running = supervise(workers=2, listen=(Address("127.0.0.1", 0), Address("127.0.0.1", 0)))
    inodes = [
        {
            link
            for fd in Path(f"/proc/{pid}/fd").iterdir()
            if (link := os.readlink(fd)).startswith("socket:")
            and re.search(rf"^\s*\d+: \S+ \S+ 0A .*\b{link[8:-1]}\b", Path("/proc/net/tcp").read_text(), re.M)
        }
        for pid in running.pids()
    ]
    assert [len(i) for i in inodes] == [2, 2]
    assert not inodes[0] & inodes[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_during_the_start_ends_it(supervise, number: signal.Signals) -> None:
    running = supervise(workers=1, wait=False, env={"STANDIN_SLEEPS": "60"})
    wait_until(running.pids, 10, "a worker that is being started")
    pids = running.pids()
    running.program.wait_line("standin sleeps")
    running.program.send(number)
    assert running.program.wait() == 0
    wait_gone(pids)
    assert "fastlb ready" not in running.program.output


def test_more_listening_sockets_than_one_message_takes(supervise) -> None:
    running = supervise(workers=1, listen=tuple(Address("127.0.0.1", 0) for _ in range(450)))
    line = running.program.wait_line("fastlb ready").string
    ports = [int(p) for p in re.findall(r"127\.0\.0\.1:(\d+)", line)]
    assert len(set(ports)) == 450
    for port in (ports[0], ports[199], ports[200], ports[449]):
        running.port = port
        assert running.get("/").startswith("worker 0")


def test_more_workers_than_possible(supervise) -> None:
    running = supervise(workers=513, wait=False)
    assert running.program.wait() == 2
    assert re.search(r"global\.workers = 513: at most 512", running.program.output)


def test_a_name_without_an_address_is_a_warning(supervise) -> None:
    servers = (Server("lost", Address("nowhere.invalid", 80)), Server("one", Address("127.0.0.1", 9)))
    running = supervise(workers=1, servers=servers)
    running.program.wait_line(
        r"WARNING: backends\.app\.servers\[0\]\.address = .nowhere\.invalid:80.: the name cannot be"
    )
    assert running.get("/").startswith("worker")
