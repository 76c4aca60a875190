"""Where lines go: files, pipes, syslog; what happens when the target stalls, fills up, goes away or is renamed."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastlb.engine.access_log import FORMATS, AccessLog
from fastlb.engine.error_log import ErrorLog
from tests.engine.log_samples import HTTPLOG, SAMPLE
from tests.engine.test_access_log_formats import FILLERS, longest
from tests.helpers import ROOT, SLOWNESS, wait_until

# A process of its own that writes `count` numbered lines, of lengths that fall anywhere in a chunk.
WRITER = """
import sys
sys.path.insert(0, {root!r})
from fastlb.engine.access_log import AccessLog
from tests.engine.log_samples import SAMPLE
target, format, name, count = sys.argv[1:]
log = AccessLog(target, format, memory=64 << 20)
for i in range(int(count)):
    path = f"/{{name}}{{i:06}}{{'x' * (i * 7 % 900)}}"
    log.emit(SAMPLE | {{"line": f"GET {{path}} HTTP/1.1"}})
    if i % 100 == 0:
        log.hand_over()
assert log.close(30.0), log.dropped
"""


def writer(target: str, format: str, name: str, count: int, **options: Any) -> subprocess.Popen[bytes]:
    program = WRITER.format(root=str(ROOT))
    return subprocess.Popen([sys.executable, "-c", program, target, format, name, str(count)], cwd=ROOT, **options)


def check_numbered(lines: list[bytes], format: str, names: str, count: int) -> None:
    """All lines of all writers, whole, each writer's in order."""
    seen: dict[str, list[int]] = {name: [] for name in names}
    for line in lines:
        if format == "json":
            target = json.loads(line)["target"]
        else:
            found = HTTPLOG.search(line)
            assert found and line.endswith(found[0]), line
            target = found["line"].split()[1].decode()
        number = int(target[2:8])
        assert target[8:] == "x" * (number * 7 % 900)
        seen[target[1]].append(number)
    assert seen == {name: list(range(count)) for name in names}


@pytest.fixture
def errors(tmp_path: Path) -> Iterator[ErrorLog]:
    log = ErrorLog(str(tmp_path / "error.log"))
    yield log
    log.close()


def error_lines(errors: ErrorLog, tmp_path: Path) -> str:
    assert errors.sync()
    return (tmp_path / "error.log").read_text()


# ---- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["json", "httplog"])
def test_processes_append_whole_lines_to_one_file(tmp_path: Path, format: str) -> None:
    path = tmp_path / "access.log"
    writers = [writer(str(path), format, name, 3000) for name in "abc"]
    assert [w.wait(60 * SLOWNESS) for w in writers] == [0, 0, 0]
    check_numbered(path.read_bytes().splitlines(), format, "abc", 3000)


def test_a_partial_chunk_arrives_after_hand_over(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.emit(SAMPLE)
    assert path.read_bytes() == b"", "nothing is written on the request path"
    log.hand_over()
    wait_until(lambda: path.read_bytes().endswith(b"}\n"), what="the line")
    assert log.close() and (log.written, log.dropped) == (1, 0)


def test_close_delivers_everything(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.emit_many(SAMPLE, 10_000)  # 5 MB, below the memory of the log
    assert log.close(30.0)
    assert path.read_bytes().count(b"\n") == log.written == 10_000
    assert not log.enabled
    log.emit(SAMPLE)
    log.hand_over()
    log.reopen()
    assert log.close() and log.written == 10_000


def test_a_log_leaves_nothing_behind(tmp_path: Path) -> None:
    def open_things() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = open_things()
    logs = [AccessLog(str(tmp_path / "log")), AccessLog("stderr"), AccessLog("syslog:udp://127.0.0.1:9")]
    assert open_things()[1] == before[1] + 3
    for log in logs:
        log.emit(SAMPLE | {"line": None}) if log is logs[0] else None
        log.close()
    assert open_things() == before
    del logs[:]
    forgotten = AccessLog(str(tmp_path / "forgotten"))
    forgotten.emit_many(SAMPLE, 300)
    del forgotten
    wait_until(lambda: open_things() == before, what="the end of a log that nobody closed")
    assert (tmp_path / "forgotten").read_bytes().count(b"\n") == 300


def test_the_file_is_for_its_owner_and_group(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        AccessLog(str(tmp_path / "log")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


def test_reopen_after_rename(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path), "combined")
    log.emit(SAMPLE | {"line": "GET /1 HTTP/1.1"})
    assert log.sync()
    path.rename(old)
    log.emit(SAMPLE | {"line": "GET /2 HTTP/1.1"})
    assert log.sync() and not path.exists()
    log.reopen()
    wait_until(path.exists, what="the new file")  # by itself, without a line
    log.emit(SAMPLE | {"line": "GET /3 HTTP/1.1"})
    assert log.close()
    assert [line.split(b" ")[6] for line in old.read_bytes().splitlines()] == [b"/1", b"/2"]
    assert [line.split(b" ")[6] for line in path.read_bytes().splitlines()] == [b"/3"]


def test_reopen_that_fails_keeps_the_old_file_and_says_so(tmp_path: Path, errors: ErrorLog) -> None:
    (tmp_path / "logs").mkdir()
    log = AccessLog(str(tmp_path / "logs" / "access.log"), errors=errors)
    (tmp_path / "logs").rename(tmp_path / "moved")
    log.reopen()
    log.emit(SAMPLE)
    assert log.sync()
    assert "error fastlb" in error_lines(errors, tmp_path)
    assert "access log: not opened again: No such file or directory" in error_lines(errors, tmp_path)
    assert log.close()
    assert (tmp_path / "moved" / "access.log").read_bytes().count(b"\n") == 1


def test_a_full_disk_costs_lines_and_is_reported(tmp_path: Path, errors: ErrorLog) -> None:
    log = AccessLog("/dev/full", errors=errors)
    for _ in range(7):
        log.emit(SAMPLE)
    assert log.sync()
    assert (log.written, log.dropped) == (0, 7)
    assert "access log: 7 lines dropped: No space left on device" in error_lines(errors, tmp_path)
    log.emit(SAMPLE)
    assert not log.close()
    assert log.dropped == 8
    assert "access log: 1 lines dropped" in error_lines(errors, tmp_path), "the last word is not limited"


TORN = """
import resource, signal, sys
sys.path.insert(0, {root!r})
from fastlb.engine.access_log import AccessLog
from tests.engine.log_samples import SAMPLE
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = AccessLog(sys.argv[1], "json")
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
for i in range(10):
    log.emit(SAMPLE)
assert log.sync()
first = log.written, log.dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for i in range(10):
    log.emit(SAMPLE | {{"status": 201}})
log.close()
print(*first, log.written, log.dropped)
"""


def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    program = [sys.executable, "-c", TORN.format(root=str(ROOT)), str(path)]
    counts = subprocess.run(program, capture_output=True, check=True, timeout=60, cwd=ROOT).stdout.split()
    lines = path.read_bytes().splitlines()
    whole = [json.loads(line)["status"] for line in lines if line.endswith(b"}")]
    torn = [line for line in lines if not line.endswith(b"}")]
    assert len(torn) == 1
    first = whole.count(200)
    assert 0 < first < 10 and whole.count(201) == 10
    assert [int(c) for c in counts] == [first, 10 - first, first + 10, 10 - first]


# ---- pipes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["json", "httplog"])
def test_processes_write_whole_lines_to_one_pipe(format: str) -> None:
    """As workers do that inherit stdout. The pipe is full most of the time."""
    r, w = os.pipe()
    writers = [writer("stdout", format, name, 2000, stdout=w) for name in "abc"]
    os.close(w)
    with os.fdopen(r, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [w.wait(60 * SLOWNESS) for w in writers] == [0, 0, 0]
    check_numbered(lines, format, "abc", 2000)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A named pipe and its reading end; nobody reads unless a test does."""
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, r
    os.close(r)


def read_all(r: int, stop: threading.Event) -> list[bytes]:
    """Everything until `stop` is set and the pipe is empty."""
    data = bytearray()
    while True:
        last = stop.is_set()
        try:
            piece = os.read(r, 65536)
        except BlockingIOError:
            piece = b""
        data += piece
        if last and not piece:
            return bytes(data).split(b"\n")[:-1]
        if not piece:
            time.sleep(0.001)  # the reading end does not block


def test_a_stalled_pipe_loses_lines_but_never_blocks(tmp_path: Path, fifo: tuple[str, int], errors: ErrorLog) -> None:
    path, r = fifo
    log = AccessLog(path, memory=256 * 1024, errors=errors)
    # were a write to wait, it would wait for ever: nobody reads
    for i in range(4000):
        log.emit(SAMPLE | {"request_id": f"{i:06}"})
        if i % 10 == 0:
            log.hand_over()
    dropped = log.dropped
    assert 2000 < dropped < 4000, "256 KB of log and 64 KB of pipe hold some 600 lines"
    assert not log.sync(0.05)
    assert "dropped" not in error_lines(errors, tmp_path), "not before it recovers"

    stop, lines = threading.Event(), []
    reader = threading.Thread(target=lambda: lines.extend(read_all(r, stop)))
    reader.start()
    assert log.sync(30.0 * SLOWNESS)
    log.emit(SAMPLE | {"request_id": "after"})
    assert log.sync()
    assert log.dropped == dropped
    assert f"access log: {dropped} lines dropped\n" in error_lines(errors, tmp_path)
    assert not log.close(), "close tells that lines were dropped"
    stop.set()
    reader.join()
    numbers = [json.loads(line)["request_id"] for line in lines]
    # which ones are lost depends on when the thread filled the pipe; the rest is whole and in order
    assert len(numbers) == 4000 - dropped + 1 and numbers == sorted(set(numbers)) and numbers[-1] == "after"
    assert log.written == len(numbers)


def test_close_gives_a_stalled_target_up(fifo: tuple[str, int]) -> None:
    path, _ = fifo
    log = AccessLog(path)
    log.emit_many(SAMPLE, 5000)
    begin = time.monotonic()
    assert not log.close(0.1)
    assert time.monotonic() - begin < 5 * SLOWNESS
    assert log.written + log.dropped == 5000 and log.dropped > 4000


def test_a_pipe_whose_reader_left_costs_lines_only(tmp_path: Path, errors: ErrorLog) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        AccessLog(path)  # nobody reads: said at the start
    r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(path, errors=errors)
    os.close(r)
    log.emit_many(SAMPLE, 3)
    assert log.sync()
    assert log.dropped == 3
    assert "access log: 3 lines dropped: Broken pipe" in error_lines(errors, tmp_path)
    r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.emit_many(SAMPLE, 2)
    assert log.sync()
    assert os.read(r, 65536).count(b"\n") == 2
    os.close(r)
    log.close()


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_pipes_lines_stay_below_what_it_takes_whole(fifo: tuple[str, int], format: str, filler: bytes) -> None:
    path, r = fifo
    log = AccessLog(path, format, header=True, hostname="h" * 64)
    log.emit(longest(filler))
    assert log.close()
    line = os.read(r, 65536)
    assert 2000 < len(line) <= 4096 and line.count(b"\n") == 1
    if format == "json":
        json.loads(line[line.index(b"{") :])


# ---- syslog ----------------------------------------------------------------------------------------------


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10 * SLOWNESS)
        yield sock


def unix_socket(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(10 * SLOWNESS)
    return sock


def test_syslog_over_udp(udp: socket.socket) -> None:
    log = AccessLog(f"syslog:udp://127.0.0.1:{udp.getsockname()[1]}", "httplog")
    for i in range(200):
        log.emit(SAMPLE | {"line": f"GET /{i} HTTP/1.1"})
        if i % 50 == 49:
            assert log.sync()
    assert log.close() and log.written == 200
    pid = b"%d" % os.getpid()
    for i in range(200):
        datagram = udp.recv(65536)
        head, message = datagram.split(b"]: ", 1)
        assert head == time.strftime("<134>Feb  6 %H:%M:%S fastlb[", time.localtime(1233918854)).encode() + pid
        found = HTTPLOG.fullmatch(message)
        assert found and found["line"] == b"GET /%d HTTP/1.1" % i


def test_syslog_carries_json_too(udp: socket.socket) -> None:
    log = AccessLog(f"syslog:udp://localhost:{udp.getsockname()[1]}", "json", tag="my proxy")
    log.emit(SAMPLE)
    assert log.close()
    head, message = udp.recv(65536).split(b"]: ", 1)
    assert b" my_proxy[" in head and json.loads(message)["server"] == "srv1"


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_datagram_stays_below_what_daemons_take(udp: socket.socket, format: str, filler: bytes) -> None:
    log = AccessLog(f"syslog:udp://127.0.0.1:{udp.getsockname()[1]}", format, tag="t" * 80)
    log.emit(longest(filler))
    assert log.close()
    datagram = udp.recv(65536)
    assert 5000 < len(datagram) <= 8192 and b"\n" not in datagram
    if format == "json":
        json.loads(datagram[datagram.index(b"{") :])


def test_udp_that_nobody_reads_is_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    log = AccessLog(f"syslog:udp://127.0.0.1:{port}")
    for _ in range(5):
        log.emit(SAMPLE)
        assert log.sync()
    log.close()
    assert log.written + log.dropped == 5


def test_syslog_over_a_unix_socket_that_comes_goes_and_returns(tmp_path: Path, errors: ErrorLog) -> None:
    path = tmp_path / "log"
    log = AccessLog(f"syslog:unix:{path}", "combined", errors=errors)
    log.emit(SAMPLE)
    assert log.sync() and log.dropped == 1, "nobody is there yet"
    assert "access log: 1 lines dropped: No such file or directory" in error_lines(errors, tmp_path)

    def arrives(sock: socket.socket, line: str) -> bool:
        """Tried again until the log does, at most a second after its last attempt."""
        log.emit(SAMPLE | {"line": line})
        assert log.sync()
        sock.setblocking(False)
        try:
            return f'"{line}"'.encode() in sock.recv(65536)
        except BlockingIOError:
            return False

    with unix_socket(path) as daemon:
        wait_until(lambda: arrives(daemon, "GET /1 HTTP/1.1"), what="a line after the daemon came")
    path.unlink()
    dropped = log.dropped
    log.emit(SAMPLE)
    assert log.sync() and log.dropped == dropped + 1
    with unix_socket(path) as daemon:
        wait_until(lambda: arrives(daemon, "GET /2 HTTP/1.1"), what="a line after the daemon came back")
        dropped = log.dropped
    path.unlink()
    with unix_socket(path) as daemon:  # restarted between two lines: nothing is lost
        assert arrives(daemon, "GET /3 HTTP/1.1")
        assert log.dropped == dropped
    log.close()


def test_a_syslog_daemon_that_stalls_never_blocks(tmp_path: Path) -> None:
    with unix_socket(tmp_path / "log") as daemon:
        log = AccessLog(f"syslog:unix:{tmp_path / 'log'}", memory=128 * 1024)
        for i in range(3000):
            log.emit(SAMPLE | {"request_id": str(i)})
        dropped = log.dropped
        assert dropped > 1000
        received: list[str] = []
        wanted = 3000 - dropped

        def receive() -> None:
            while len(received) < wanted:
                datagram = daemon.recv(65536)
                received.append(json.loads(datagram[datagram.index(b"{") :])["request_id"])

        reader = threading.Thread(target=receive)
        reader.start()
        assert log.sync(30 * SLOWNESS)
        reader.join(30 * SLOWNESS)
        assert received == sorted(set(received), key=int)
        log.close()
