"""The programs that are compared: each makes its configuration from a `Scene`, starts, and stops.

What every proxy does on every request: keep-alive on both sides, the same order of servers, the same timeouts,
X-Forwarded-For and X-Forwarded-Proto, an access log line with about the same facts to a file. None checks health, none
caches or compresses. Workers or threads are as many as the scene says; fastlb's supervisor is counted too.

The log takes, for each, the form that an operator who minds its cost would choose: HAProxy writes its `httplog` line
to standard output (`log stdout format raw`, redirected to a file; a datagram to a syslog socket costs it more), nginx
buffers 64 KB for up to a second, fastlb writes HAProxy's line to a file.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from fastlb.bench.process import Child, free_port
from fastlb.bench.scene import Scene


def find(program: str) -> str | None:
    """Path of a program, administrators' directories and this environment's included."""
    places = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
    found = shutil.which(program, path=places)
    if found is None and program == "envoy" and (package := importlib.util.find_spec("envoy")):
        binary = Path(package.origin or "").parent / "_bin" / "envoy"
        return str(binary) if binary.exists() else None
    return found


@dataclass(slots=True)
class Setup:
    """Where things run: two cores, a scratch directory."""

    proxy_cores: set[int]
    load_core: int
    folder: Path

    def cores(self, workers: int) -> set[int]:
        """Of a proxy: its own, and for more than one worker that of the load too, as there are no others."""
        return self.proxy_cores if workers <= len(self.proxy_cores) else self.proxy_cores | {self.load_core}


class Proxy(ABC):
    """One of the compared programs. `start` and `stop` may be repeated; each start has a port of its own."""

    name: str
    suffix: str
    modes: tuple[str, ...] = ("http", "tcp")
    package: str = ""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.port = 0
        self.scene = Scene(())
        self.child: Child | None = None
        self.configs: dict[str, str] = {}  # by the scene's words
        self.answered = 0  # requests since the start that its access log has to tell of
        self._read = self._lines = 0  # bytes and lines of the log looked at

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

    @classmethod
    def there(cls) -> bool:
        """Whether the program is installed."""
        return find(cls.name) is not None

    def environment(self) -> dict[str, str]:
        return {}

    def output(self) -> Path:
        return self.setup.folder / f"{self.name}.out"

    def start(self, scene: Scene) -> None:
        self.scene = scene
        self.access_log.unlink(missing_ok=True)
        self.answered = self._read = self._lines = 0
        self.port = free_port()
        text = self.configuration()
        self.configs[scene.told()] = text
        path = self.setup.folder / f"{self.name}{self.suffix}"
        path.write_text(text)
        cores = self.setup.cores(scene.workers)
        self.child = Child(self.command(path), cores, self.output(), self.environment(), self.setup.folder)
        (self.child.wait_udp if scene.mode == "udp" else self.child.wait_port)(self.port)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    @property
    def logs(self) -> bool:
        """Whether it writes an access log in this scene."""
        return self.scene.log

    def logged_lines(self) -> int:
        """Lines of the access log so far; 0 when there is none."""
        if not self.logs or not self.access_log.exists():
            return 0
        with self.access_log.open("rb") as log:
            log.seek(self._read)
            while block := log.read(1 << 20):
                self._read += len(block)
                self._lines += block.count(b"\n")
        return self._lines

    def unlogged(self, patience: float = 10.0) -> int:
        """Answered requests that the access log does not tell of; waits for what is written late."""
        deadline = time.monotonic() + patience
        while True:
            missing = max(0, self.answered - self.logged_lines()) if self.logs else 0
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(0.05)  # nothing tells when another process writes


def first_line(argv: list[str], cwd: str | None = None) -> str:
    """What a program says of its version."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, check=False)
    told = next((line.strip() for line in done.stdout.splitlines() if line.strip()), "?")
    return " ".join(
        told.replace(argv[0], Path(argv[0]).name).split()
    )  # Envoy says where it lies, which is nobody's business


@dataclass(frozen=True, slots=True)
class UdpOptions:
    """What a scene of datagrams adds in each peer's own words."""

    fastlb: str  # its udp table
    nginx: str  # its server block
    envoy: dict[str, object]  # its filter


UDP_OPTIONS = {
    "": UdpOptions('idle = "60s"', "proxy_timeout 60s;", {"idle_timeout": "60s"}),
    "query": UdpOptions(
        'idle = "5s", responses = 1', "proxy_timeout 5s; proxy_responses 1;", {"idle_timeout": "0.5s"}
    ),  # Envoy's sessions end by time alone
    "packet": UdpOptions(
        'flow = "packet", responses = 0',
        "proxy_timeout 5s; proxy_requests 1; proxy_responses 0;",
        {"idle_timeout": "0.5s", "use_per_packet_load_balancing": True},
    ),
}


class Fastlb(Proxy):
    """fastlb of a checkout; several checkouts can be compared, each under a name of its own."""

    suffix = ".toml"
    modes = ("http", "tcp", "udp")

    def __init__(self, setup: Setup, name: str = "fastlb", checkout: Path | None = None, log: bool = True) -> None:
        super().__init__(setup)
        self.name = name
        self._checkout = checkout
        self._log = log  # False: no access log, whatever the scene says

    @property
    def logs(self) -> bool:
        return self.scene.log and self._log

    def configuration(self) -> str:
        scene = self.scene
        access = str(self.access_log) if self.logs else "off"
        servers = "".join(
            f'  [[backends.origin.servers]]\n  name = "s{i}"\n  address = "127.0.0.1:{port}"\n'
            + (f"  weight = {scene.weight(i - 1)}\n" if scene.weights else "")
            for i, port in enumerate(scene.servers, 1)
        )
        address = f'"127.0.0.1:{self.port}"'
        if scene.tls:
            address = f'{{ address = {address}, tls = {{ cert = "{scene.tls}" }} }}'
        options = f"\nudp = {{ {UDP_OPTIONS[scene.flows].fastlb} }}" if scene.mode == "udp" else ""
        if scene.extra:
            return scene.extra.replace('"127.0.0.1:@PORT@"', f"[{address}]").replace("@LOG@", access)
        weighted = "weighted_" if scene.weights and scene.balance == "round_robin" else ""
        return f"""[global]
workers = {scene.workers}

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
listen = [{address}]
mode = "{scene.mode}"
backend = "origin"{options}

[backends.origin]
mode = "{scene.mode}"
balance = "{weighted}{scene.balance}"
{servers}"""

    @classmethod
    def there(cls) -> bool:
        return True

    def command(self, config: Path) -> list[str]:
        return [sys.executable, "-m", "fastlb", "serve", "-c", str(config)]

    def environment(self) -> dict[str, str]:
        # the scratch directory is the working directory: a package that is not installed must be found all the same
        return {"PYTHONPATH": str(self._checkout or Path(__file__).resolve().parents[2])}

    def version(self) -> str:
        return first_line([sys.executable, "-m", "fastlb", "--version"], str(self._checkout or Path.cwd()))


class HAProxy(Proxy):
    name = "haproxy"
    suffix = ".cfg"
    package = "apt-get install haproxy"

    def configuration(self) -> str:
        scene = self.scene
        option = "httplog" if scene.mode == "http" else "tcplog"
        log = ("  log stdout format raw local0\n", f"  log global\n  option {option}\n") if scene.log else ("", "")
        servers = "".join(
            f"  server s{i} 127.0.0.1:{port} weight {scene.weight(i - 1)}\n" for i, port in enumerate(scene.servers, 1)
        )
        tls = f" ssl crt {scene.tls} alpn http/1.1" if scene.tls else ""
        http = (
            """  option forwardfor
  option http-keep-alive
  http-reuse always
  timeout http-request 10s
  timeout http-keep-alive 75s
"""
            if scene.mode == "http"
            else ""
        )
        proto = f"  http-request set-header X-Forwarded-Proto {'https' if scene.tls else 'http'}\n"
        return f"""global
  nbthread {scene.workers}
  maxconn {scene.connections}
  tune.ssl.default-dh-param 2048
{log[0]}
defaults
  mode {scene.mode}
{log[1]}{http}  timeout connect 3s
  timeout client 30s
  timeout server 60s
  timeout queue 5s
  timeout tunnel 1h

frontend web
  bind 127.0.0.1:{self.port}{tls}
{proto if scene.mode == "http" else ""}  default_backend origin

backend origin
  balance {"leastconn" if scene.balance == "least_connections" else "roundrobin"}
{servers}"""

    def command(self, config: Path) -> list[str]:
        return [find("haproxy") or "haproxy", "-db", "-f", str(config)]

    @property
    def access_log(self) -> Path:
        return self.output()

    def version(self) -> str:
        return first_line([find("haproxy") or "haproxy", "-v"])


def _nginx_stream_module() -> str:
    """Line that loads the stream module where Debian has it apart; '' where it is built in or missing."""
    path = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    return f"load_module {path};\n" if path.exists() else ""


class Nginx(Proxy):
    name = "nginx"
    suffix = ".conf"
    modes = ("http", "tcp", "udp")
    package = "apt-get install nginx-light (and libnginx-mod-stream for mode tcp)"

    def configuration(self) -> str:
        scene = self.scene
        servers = "".join(
            f"    server 127.0.0.1:{port} weight={scene.weight(i)} max_fails=0;\n"
            for i, port in enumerate(scene.servers)
        )
        balance = "    least_conn;\n" if scene.balance == "least_connections" else ""
        main = f"""daemon off;
worker_processes {scene.workers};
pid {self.setup.folder}/nginx.pid;
error_log {self.setup.folder}/nginx-error.log;
events {{ worker_connections {2 * scene.connections + 500}; }}
"""
        if scene.mode != "http":
            options = "backlog=4096; proxy_connect_timeout 3s;"
            if scene.mode == "udp":
                options = f"udp; {UDP_OPTIONS[scene.flows].nginx}"
            log = f"access_log {self.access_log} facts buffer=64k flush=1s;" if scene.log else ""
            return f"""{_nginx_stream_module()}{main}stream {{
  log_format facts '$remote_addr:$remote_port [$time_local] $upstream_addr $session_time $bytes_sent $status';
  {log}
  upstream origin {{
{balance}{servers}  }}
  server {{ listen 127.0.0.1:{self.port} {options} proxy_pass origin; }}
}}
"""
        log = f"access_log {self.access_log} facts buffer=64k flush=1s;" if scene.log else "access_log off;"
        tls = (
            f"    ssl_certificate {scene.tls};\n    ssl_certificate_key {scene.tls};\n"
            "    ssl_session_cache shared:s:10m;\n    ssl_protocols TLSv1.2 TLSv1.3;\n"
            if scene.tls
            else ""
        )
        upgrade = "  map $http_upgrade $connection_field { default upgrade; '' ''; }\n" if scene.websockets else ""
        fields = "$connection_field" if scene.websockets else '""'
        header = "      proxy_set_header Upgrade $http_upgrade;\n" if scene.websockets else ""
        return f"""{main}http {{
  log_format facts '$remote_addr:$remote_port [$time_local] $upstream_addr $request_time $upstream_connect_time '
                   '$upstream_header_time $status $bytes_sent $connection_requests "$request"';
  {log}
  keepalive_requests 1000000000;
  keepalive_timeout 75s;
  client_max_body_size 0;
  client_body_temp_path {self.setup.folder};
  proxy_temp_path {self.setup.folder};
  client_header_timeout 10s;
  client_body_timeout 30s;
  send_timeout 30s;
{upgrade}  upstream origin {{
{balance}{servers}    keepalive {scene.connections};
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{self.port}{" ssl" if scene.tls else ""} backlog=4096;
{tls}    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection {fields};
{header}      proxy_set_header Host $http_host;
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
        return first_line([find("nginx") or "nginx", "-v"])
