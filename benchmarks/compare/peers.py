"""The origin servers and the proxies: configurations equal in features, generated, kept for the report.

What every proxy does on every request: keep-alive on both sides, round robin over two servers, the same timeouts,
X-Forwarded-For and X-Forwarded-Proto, an access log line with about the same facts to a file. None checks health, none
caches or compresses, each uses one thread (fastlb: one worker beside its supervisor, both counted).

The log takes, for each, the form that an operator who minds its cost would choose: HAProxy writes its `httplog` line
to standard output (`log stdout format raw`, redirected to a file; a datagram to a syslog socket costs it more), nginx
buffers 64 KB for up to a second, fastlb writes HAProxy's line to a file.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from fastlb.bench.process import Child, free_port

SMALL_BODY = "x" * 119 + "\n"  # 120 bytes
FILES = {"64k": 64 * 1024, "1m": 1024 * 1024}


def find(program: str) -> str | None:
    """Path of a program, administrators' directories included."""
    return shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")


@dataclass(slots=True)
class Setup:
    """Where things run: two cores, a scratch directory, log on or off."""

    proxy_core: int
    load_core: int
    folder: Path
    log: bool = True
    # ceiling of each proxy; a proxied connection takes two descriptors
    connections: int = (min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 40_000) - 1000) // 2
    origins: list[int] = field(default_factory=list)  # ports


class Origin:
    """nginx with two listening ports that stand for two servers."""

    def __init__(self, setup: Setup) -> None:
        program = find("nginx")
        if program is None:
            raise SystemExit("the origin servers are nginx: install the Debian package nginx-light")
        setup.origins = [free_port(), free_port()]
        # files from memory where there is a place for it: the disk is not measured
        shared = Path("/dev/shm")
        self._files = Path(tempfile.mkdtemp(prefix="fastlb-compare-", dir=shared if shared.is_dir() else None))
        self._files.chmod(0o755)
        for name, size in FILES.items():
            (self._files / name).write_bytes(b"0123456789abcdef" * (size // 16))
        servers = "".join(
            f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {self._files};
    location = /small {{ return 200 "{SMALL_BODY.strip()}\\n"; }}
    location = /seen {{ return 200 "$server_port|$http_x_forwarded_for|$http_x_forwarded_proto|$http_connection"; }}
  }}"""
            for port in setup.origins
        )
        self.config = f"""daemon off;
worker_processes 1;
pid {setup.folder}/origin.pid;
error_log {setup.folder}/origin-error.log;
events {{ worker_connections {setup.connections}; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  default_type text/plain;{servers}
}}
"""
        path = setup.folder / "origin.conf"
        path.write_text(self.config)
        self._child = Child(
            [program, "-c", str(path), "-e", f"{setup.folder}/origin-error.log"],
            setup.load_core,
            setup.folder / "origin.out",
        )
        for port in setup.origins:
            self._child.wait_port(port)

    def stop(self) -> None:
        self._child.stop()
        shutil.rmtree(self._files, ignore_errors=True)


class Proxy(ABC):
    """One of the compared programs. `start` and `stop` may be repeated; each start has a port of its own."""

    name: str
    suffix: str

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.port = 0
        self.child: Child | None = None
        self.config = ""

    @property
    def access_log(self) -> Path:
        return self.setup.folder / f"{self.name}-access.log"

    @abstractmethod
    def configuration(self) -> str:
        """The text of its configuration file, listening on `self.port`."""

    @abstractmethod
    def command(self, config: Path) -> list[str]:
        """What starts it in the foreground."""

    @abstractmethod
    def version(self) -> str:
        """As the program says."""

    def environment(self) -> dict[str, str]:
        return {}

    def output(self) -> Path:
        return self.setup.folder / f"{self.name}.out"

    def start(self) -> None:
        self.access_log.unlink(missing_ok=True)
        self.port = free_port()
        self.config = self.configuration()
        path = self.setup.folder / f"{self.name}{self.suffix}"
        path.write_text(self.config)
        self.child = Child(
            self.command(path), self.setup.proxy_core, self.output(), self.environment(), self.setup.folder
        )
        self.child.wait_port(self.port)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def logged_lines(self) -> int:
        """Lines of the access log so far; 0 when there is none."""
        if not self.setup.log or not self.access_log.exists():
            return 0
        with self.access_log.open("rb") as log:
            return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))


class HAProxy(Proxy):
    name = "haproxy"
    suffix = ".cfg"

    def configuration(self) -> str:
        log = ("  log stdout format raw local0\n", "  log global\n  option httplog\n") if self.setup.log else ("", "")
        servers = "".join(f"  server s{i} 127.0.0.1:{port}\n" for i, port in enumerate(self.setup.origins, 1))
        return f"""global
  nbthread 1
  maxconn {self.setup.connections}
{log[0]}
defaults
  mode http
{log[1]}  option forwardfor
  option http-keep-alive
  http-reuse always
  timeout connect 3s
  timeout client 30s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 75s
  timeout queue 5s

frontend web
  bind 127.0.0.1:{self.port}
  http-request set-header X-Forwarded-Proto http
  default_backend origin

backend origin
  balance roundrobin
{servers}"""

    def command(self, config: Path) -> list[str]:
        return [find("haproxy") or "haproxy", "-db", "-f", str(config)]

    @property
    def access_log(self) -> Path:
        return self.output()

    def version(self) -> str:
        return _first_line([find("haproxy") or "haproxy", "-v"])


class Nginx(Proxy):
    name = "nginx"
    suffix = ".conf"

    def configuration(self) -> str:
        log = f"access_log {self.access_log} facts buffer=64k flush=1s;" if self.setup.log else "access_log off;"
        servers = "".join(f"    server 127.0.0.1:{port};\n" for port in self.setup.origins)
        return f"""daemon off;
worker_processes 1;
pid {self.setup.folder}/nginx.pid;
error_log {self.setup.folder}/nginx-error.log;
events {{ worker_connections {2 * self.setup.connections}; }}
http {{
  log_format facts '$remote_addr:$remote_port [$time_local] $upstream_addr $request_time $upstream_connect_time '
                   '$upstream_header_time $status $bytes_sent $connection_requests "$request"';
  {log}
  keepalive_requests 1000000000;
  keepalive_timeout 75s;
  client_header_timeout 10s;
  client_body_timeout 30s;
  send_timeout 30s;
  upstream origin {{
{servers}    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_connect_timeout 3s;
      proxy_read_timeout 60s;
      proxy_send_timeout 60s;
    }}
  }}
}}
"""

    def command(self, config: Path) -> list[str]:
        return [find("nginx") or "nginx", "-c", str(config), "-e", f"{self.setup.folder}/nginx-error.log"]

    def version(self) -> str:
        return _first_line([find("nginx") or "nginx", "-v"])


class Fastlb(Proxy):
    """fastlb of a checkout; several checkouts can be compared, each under a name of its own."""

    suffix = ".toml"

    def __init__(self, setup: Setup, name: str, checkout: Path, log: bool = True) -> None:
        super().__init__(setup)
        self.name = name
        self._checkout = checkout
        self._log = log and setup.log

    def configuration(self) -> str:
        access = str(self.access_log) if self._log else "off"
        servers = "".join(
            f'  [[backends.origin.servers]]\n  name = "s{i}"\n  address = "127.0.0.1:{port}"\n'
            for i, port in enumerate(self.setup.origins, 1)
        )
        return f"""[global]
workers = 1

[log]
access = "{access}"
format = "httplog"
level = "warning"

[timeouts]
connect = "3s"
header = "10s"
client = "30s"
server = "60s"
idle = "75s"
queue = "5s"

[frontends.web]
listen = ["127.0.0.1:{self.port}"]
mode = "http"
backend = "origin"

[backends.origin]
balance = "round_robin"
{servers}"""

    def command(self, config: Path) -> list[str]:
        return [sys.executable, "-m", "fastlb", "serve", "-c", str(config)]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self._checkout)}

    def version(self) -> str:
        return _first_line([sys.executable, "-m", "fastlb", "--version"], str(self._checkout))


def _first_line(argv: list[str], cwd: str | None = None) -> str:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, check=False)
    return (done.stdout.splitlines() or ["?"])[0].strip()
