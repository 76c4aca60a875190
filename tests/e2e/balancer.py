"""A running balancer for tests; how it is started is decided here alone."""

from __future__ import annotations

import os
import re
import signal
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers import FASTLB, ROOT, Program, free_port, wait_until

from .toml import dump
from .wire import Origin, Wire, dial

# a program that sets the limit of open files and becomes the one that its other arguments name
_LIMITED = (
    "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)

# a sanitizer keeps freed memory back for a while: resident bytes then say nothing
MEMORY_COUNTS = not os.environ.get("FASTLB_SANITIZE")

# HAProxy's httplog line
_LINE = re.compile(
    r"(?P<client>[0-9a-f.:]+):(?P<port>\d+) \[(?P<date>[^\]]+)\] (?P<frontend>\S+) (?P<backend>[^/ ]+)/(?P<server>\S+) "
    r"(?P<tr>-?\d+)/(?P<tw>-?\d+)/(?P<tc>-?\d+)/(?P<trr>-?\d+)/(?P<ta>\+?\d+) (?P<status>-?\d+) (?P<bytes>\+?\d+) "
    r"\S+ \S+ (?P<term>\S{4}) (?P<act>\d+)/(?P<fe>\d+)/(?P<be>\d+)/(?P<srv>\d+)/(?P<retries>\+?\d+) "
    r"(?P<sq>\d+)/(?P<bq>\d+) (?:\{[^}]*\} )*\"(?P<request>.*)\"?$"
)


@dataclass
class Logged:
    """One line of the access log in httplog format."""

    server: str
    backend: str
    tr: int
    tw: int
    tc: int
    trr: int
    ta: int
    status: int
    bytes: int
    term: str
    retries: str  # with "+" when another server took over
    bq: int
    request: str
    line: str

    @classmethod
    def read(cls, line: str) -> Logged:
        match = _LINE.search(line)
        assert match, f"not an httplog line: {line!r}"
        g = match.groupdict()
        return cls(
            g["server"], g["backend"], int(g["tr"]), int(g["tw"]), int(g["tc"]), int(g["trr"]), int(g["ta"]),
            int(g["status"]), int(g["bytes"]), g["term"], g["retries"], int(g["bq"]), g["request"], line,
        )  # fmt: skip


@dataclass
class Balancer:
    """A running fastlb."""

    program: Program
    ports: dict[str, int]  # of each frontend
    seen: int = field(default=0)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.ports["web"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def pid(self) -> int:
        return self.program.pid

    def dial(self, frontend: str = "web", **options: Any) -> Wire:
        """A new client connection."""
        return dial(("127.0.0.1", self.ports[frontend]), **options)

    def logged(self, mark: str) -> Logged:
        """The access log line of the request in whose line `mark` stands; awaited."""
        match = self.program.wait_line(r'\] \S+ \S+/\S+ -?\d+/.*"[^"]*' + re.escape(mark))
        return Logged.read(match.string)

    def flagged(self, term: str) -> Logged:
        """The first access log line with these termination flags; awaited."""
        return Logged.read(self.program.wait_line(rf"\] \S+ \S+/\S+ -?\d+/.* {term} ").string)

    def log_count(self) -> int:
        """Lines of the access log so far."""
        return sum(1 for line in self.program.lines if _LINE.search(line))

    def complained(self, pattern: str) -> str:
        """The first line of the error log that matches; awaited."""
        return self.program.wait_line(r"(?i)\b(?:debug|info|warning|error)\b.*(?:" + pattern + ")").string

    def engines(self) -> list[int]:
        """Process ids of what carries traffic."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(p) for p in children] or [self.pid]

    def memory(self) -> int:
        """Resident bytes of all engines."""
        total = 0
        for pid in self.engines():
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
        return total

    def descriptors(self) -> int:
        """Open descriptors of all engines."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.engines())

    def settled(self, descriptors: int) -> None:
        """Waits until no more than so many descriptors are open."""
        wait_until(lambda: self.descriptors() <= descriptors, what=f"at most {descriptors} open descriptors")

    def stop(self) -> int:
        """Ends it at once; returns the exit status."""
        return self.program.stop(signal.SIGQUIT)


def configuration(
    servers: tuple[Origin | str | Mapping[str, Any], ...],
    *,
    frontend: Mapping[str, Any] | None = None,
    backend: Mapping[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """One frontend `web` over one backend `app` (without servers: none), and what else is asked for, as in a file."""
    mapping: dict[str, Any] = {
        "global": {"workers": 0},
        "log": {"access": "stdout", "format": "httplog"},
        "frontends": {"web": {"backend": "app", **(frontend or {})}},
        "backends": {
            "app": {
                "servers": [
                    {"name": f"s{i}", "address": s.address} if isinstance(s, Origin)
                    else {"name": f"s{i}", "address": s} if isinstance(s, str)
                    else dict(s)
                    for i, s in enumerate(servers)
                ],
                **(backend or {}),
            }
        },
    }  # fmt: skip
    if not servers:
        del mapping["backends"]["app"]
        mapping["frontends"]["web"].pop("backend")
    for name, section in sections.items():
        key = name.rstrip("_")  # global_ is written so because of Python
        mapping[key] = {
            **mapping.get(key, {}),
            **{k: dict(v) if isinstance(v, Mapping) else v for k, v in section.items()},
        }
    for f in mapping["frontends"].values():
        f.setdefault("listen", f"127.0.0.1:{free_port()}")
    return mapping


def launch(mapping: Mapping[str, Any], folder: Path, *, limit: int = 0, **options: Any) -> Balancer:
    """Starts fastlb with the configuration `mapping`, at most `limit` open files; returns when it accepts."""
    file = folder / f"{uuid.uuid4().hex}.toml"
    file.write_text(dump(mapping))
    limited = [sys.executable, "-c", _LIMITED, str(limit)] if limit else []
    program = Program([*limited, *FASTLB, "serve", "-c", file], cwd=ROOT, **options)
    try:
        program.wait_line("fastlb ready", timeout=30)
    except BaseException:
        program.stop()
        raise
    ports = {name: _port(f["listen"]) for name, f in mapping["frontends"].items()}
    return Balancer(program, ports)


def _port(listen: Any) -> int:
    """The port of the first address; 0 for a Unix socket."""
    first = listen[0] if isinstance(listen, list) else listen
    address = first["address"] if isinstance(first, Mapping) else first
    return 0 if address.startswith("unix:") else int(address.rsplit(":", 1)[1])


class Balancers:
    """Starts balancers and stops them in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[Balancer] = []

    def __call__(self, *servers: Origin | str | Mapping[str, Any], limit: int = 0, **parts: Any) -> Balancer:
        balancer = launch(configuration(servers, **parts), self.folder, limit=limit)
        self.running.append(balancer)
        return balancer

    def end(self) -> None:
        ended = [(balancer.stop(), balancer.program.output) for balancer in self.running]
        for status, output in ended:  # shown by pytest beside a failed test
            print(f"--- fastlb (status {status})\n{output[-20000:]}")
        for status, output in ended:
            assert status == 0, "fastlb has crashed" if status < 0 else "fastlb has failed"
            assert not re.search("Traceback|Fatal Python error|Sanitizer|runtime error", output)
