"""A balancer as an operator has it: a file, a process, signals, a log."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastlb.testing import Origin, RawClient, Response
from tests.helpers import FASTLB, ROOT, Program, free_port, need, wait_until

OUTCOME = r"configuration (\d+) runs|nothing is changed|run the one before|no configuration file"


class Served:
    """A running `fastlb serve -c FILE` whose file can be written anew."""

    def __init__(
        self, start: Callable[..., Program], folder: Path, text: str, *options: str, wait: bool = True
    ) -> None:
        self.folder = folder
        self.file = folder / "lb.toml"
        self.write(text)
        self.program = start([*FASTLB, "serve", "-c", self.file, *options], cwd=ROOT)
        if wait:
            self.program.wait_line("fastlb ready", 20)

    def write(self, text: str) -> None:
        """Replaces the file."""
        self.file.write_text(text)

    def reload(self, text: str | None = None) -> str:
        """HUP, and the line of the log that says what came of it."""
        if text is not None:
            self.write(text)
        start = len(self.program.lines)
        self.program.send(signal.SIGHUP)
        return self.program.wait_line(OUTCOME, 20, start).string

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers, from the kernel."""
        children = Path(f"/proc/{self.program.pid}/task/{self.program.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


class Manager:
    """The socket of a service manager; `told` grows while it listens."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.told: list[dict[str, str]] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._sock.recv(4096):
            self.told.append(dict(line.split("=", 1) for line in message.decode().splitlines()))

    def wait(self, key: str, start: int = 0) -> dict[str, str]:
        """The first message with `key` from number `start` on."""

        def found() -> dict[str, str] | None:
            return next((m for m in self.told[start:] if key in m), None)

        message = wait_until(found, 20, f"{key} for the service manager")
        assert message is not None
        return message

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self._thread.join(10)
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path / "notify")
    yield found
    found.close()


def certificate(path: Path) -> Path:
    """A self-signed certificate with its key, in one file."""
    key = path.with_suffix(".key")
    subprocess.run(
        [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def get(port: int, target: str = "/", *, timeout: float = 20) -> Response:
    """One request on a connection of its own."""
    with RawClient(("127.0.0.1", port), timeout=timeout) as client:
        return client.get(target, [("Connection", "close")])


def config(
    listen: int | list[int] | dict[str, int],
    *servers: Origin | str,
    workers: int = 2,
    backend: str = "",
    more: str = "",
    global_: str = "",
    log: str = "off",
) -> str:
    """A file with one frontend a name (default 'web'), all before the backend 'app'."""
    frontends = listen if isinstance(listen, dict) else {"web": listen}
    names = ", ".join(f'"{s.name if isinstance(s, Origin) else s}"' for s in servers)
    text = f"[global]\nworkers = {workers}\n{global_}\n[log]\naccess = '{log}'\n"
    for name, ports in frontends.items():
        places = [f"127.0.0.1:{port}" for port in (ports if isinstance(ports, list) else [ports])]
        text += f"[frontends.{name}]\nlisten = {places}\nbackend = 'app'\n"
    return text + f"[backends.app]\nservers = [{names}]\n{backend}\n{more}\n"


@pytest.fixture
def serve(start: Callable[..., Program], tmp_path: Path) -> Callable[..., Served]:
    def begin(text: str, *options: str, wait: bool = True) -> Served:
        return Served(start, tmp_path, text, *options, wait=wait)

    return begin


@pytest.fixture
def port() -> int:
    return free_port()


def generation(line: str) -> int:
    """Of the configuration that an outcome line says runs."""
    match = re.search(r"configuration (\d+) runs", line)
    assert match, line
    return int(match[1])


PYTHON = sys.executable
