"""What every test that starts programs needs: peers, free ports, processes that are always stopped, waiting.

Nothing here sleeps for luck: output is awaited line by line, a port by connecting to it, anything else by a
predicate with a deadline.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
FASTLB = (sys.executable, "-m", "fastlb")

T = TypeVar("T")

# Sanitizer builds are several times slower; every deadline of a test grows with this.
SLOWNESS = float(os.environ.get("FASTLB_TEST_SLOWNESS", "1"))


def in_ci() -> bool:
    """True where a missing peer program is a failure, not a reason to skip."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def find(program: str) -> str | None:
    """Path of `program`, looked for in the administrator's directories too."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin:/sbin")


def need(program: str, package: str = "") -> str:
    """Path of a peer program; without it the test is skipped with the reason, or fails where CI=true."""
    path = find(program)
    if path is None:
        reason = f"needs the program {program} (Debian package {package or program})"
        if in_ci():
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def open_to_others(folder: Path) -> None:
    """Lets programs that run as another user into a test's folder: pytest keeps its own to itself."""
    for path in (folder, *folder.parents):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(0o755)


_given: set[int] = set()


def _share() -> tuple[int, int]:
    """Which of how many processes that run the suite beside each other this is."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return int(worker), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def free_port(host: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port nobody listens on, different from all given before in this process.

    Taken from below the kernel's ephemeral range, so that an outgoing connection of another test does not get
    the same one before the program under test listens on it; and from this process's own share of those, so that
    neither does a test that another process of the same run is at.
    """
    mine, of = _share()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(200 * of):
        port = random.randrange(10_000, max(low, 10_100))
        if port in _given or port % of != mine:
            continue
        with socket.socket(family, kind) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError(f"no free port on {host}")


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """First true value of `predicate`; fails after `timeout` seconds. For facts that have no event to await."""
    deadline = time.monotonic() + timeout * SLOWNESS
    pause = 0.001
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not hold within {timeout:g} s; last value: {value!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def accepts(address: tuple[str, int] | str) -> bool:
    """True when something accepts connections on (host, port) or a Unix socket path."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(address)
        except OSError:
            return False
    return True


def wait_port(address: tuple[str, int] | str, timeout: float = 10.0) -> None:
    """Returns once something accepts connections on `address`."""
    wait_until(lambda: accepts(address), timeout, f"a listener on {address}")


class Program:
    """A running program, its output line by line, and the certainty that it and its children are gone in the end.

    Use it as a context manager, or by the fixture `start`. It leads its own process group: `stop` ends the group.
    Standard output and standard error are read together by a thread; `lines` grows while the program runs.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = [os.fspath(a) for a in argv]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        # programs of other projects would run under the sanitizer of ours
        if environment.get("LD_PRELOAD", "").endswith(("libasan.so", "libubsan.so")) and not _is_python(self.argv[0]):
            del environment["LD_PRELOAD"]
        self.lines: list[str] = []
        self._grown = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self.argv[0]}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for raw in stream:
                with self._grown:
                    self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        with self._grown:
            return "\n".join(self.lines)

    def wait_line(self, pattern: str, timeout: float = 10.0, start: int = 0) -> re.Match[str]:
        """First line from index `start` on in which `pattern` (a regular expression) is found."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout * SLOWNESS
        seen = start
        with self._grown:
            while True:
                while seen < len(self.lines):
                    match = regex.search(self.lines[seen])
                    if match:
                        return match
                    seen += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"did not within {timeout:g} s"
                    pytest.fail(f"{self.argv[0]} {why}; no line matches {pattern!r} in:\n" + "\n".join(self.lines))
                self._grown.wait(left)

    def wait_port(self, address: tuple[str, int] | str, timeout: float = 10.0) -> Self:
        """Returns once `address` accepts; fails at once, with the output, when the program has ended."""

        def ready() -> bool:
            if self.process.poll() is not None:
                self._reader.join(1.0)
                pytest.fail(f"{' '.join(self.argv)} ended with status {self.process.returncode}:\n{self.output}")
            return accepts(address)

        wait_until(ready, timeout, f"{self.argv[0]} listening on {address}")
        return self

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the program itself, not to its children."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Exit status, awaited; fails with the output when the program does not end in time."""
        try:
            status = self.process.wait(timeout * SLOWNESS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{' '.join(self.argv)} still runs after {timeout:g} s:\n{self.output}")
        self._reader.join(1.0)
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 5.0) -> int:
        """Ends the program, at last with SIGKILL to its whole group; returns the exit status. May be repeated."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout * SLOWNESS)
            except subprocess.TimeoutExpired:
                pass  # it gets the signal that cannot be ignored
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the group bears the number of its leader
        except ProcessLookupError:
            pass
        status = self.process.wait()
        self._reader.join(1.0)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_python(program: str) -> bool:
    return program == sys.executable or "python" in Path(program).name
