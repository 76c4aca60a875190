"""The balancers under test: configured from a `Pool`, started, asked to drain, to take back, and to reload.

Each peer does what its own operators would do: fastlb by its admin socket, HAProxy by its runtime socket and
master-worker reload, nginx by rewriting its file and HUP.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from fastlb.bench.process import Child, free_port
from loadtests.model import Pool

STICKY = "LB"  # the balancers' own cookie
CHECKOUT = Path(__file__).resolve().parents[1]


def find(program: str) -> str:
    """Path of a program, administrators' directories included; ends the run with the package when it is missing."""
    path = shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise SystemExit(f"{program} is not installed: apt-get install {program}, or leave it out by --peer")
    return path


class Peer(ABC):
    """One balancer over servers s1, s2, ... at `ports`. Listens on `host`."""

    name: str

    def __init__(self, pool: Pool, ports: dict[str, int], folder: Path, host: str = "127.0.0.1") -> None:
        self.pool, self.ports, self.folder, self.host = pool, ports, folder, host
        self.port = free_port()
        self.child: Child | None = None
        self.config = ""

    @classmethod
    def program(cls) -> str:
        """Path of what is run; ends the run when it is not installed."""
        return find(cls.name)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.conf"

    @abstractmethod
    def configuration(self) -> str: ...

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def drain(self, server: str) -> None:
        """No new requests for this server; what it is busy with ends as it began."""

    @abstractmethod
    def ready(self, server: str) -> None: ...

    @abstractmethod
    def reload(self) -> None: ...

    def start(self) -> None:
        self.config = self.configuration()
        self.file.write_text(self.config)
        self.child = Child(
            self.command(), None, self.folder / f"{self.name}.out", {"PYTHONPATH": str(CHECKOUT)}, self.folder
        )
        self.child.wait_port(self.port, host=self.host)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def _signal(self, number: signal.Signals) -> None:
        assert self.child is not None
        os.kill(self.child.pid, number)


def _first_line(*argv: str) -> str:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=CHECKOUT)
    return (done.stdout.splitlines() or ["?"])[0].strip()


class Fastlb(Peer):
    name = "fastlb"

    @classmethod
    def program(cls) -> str:
        return sys.executable

    def configuration(self) -> str:
        p = self.pool
        balance = (
            f'{{ algorithm = "consistent_hash", key = "{p.key}" }}' if p.balance == "hash" else json.dumps(p.balance)
        )
        limit = f"max_connections = {p.limit}\n" if p.limit else ""
        limit += f'affinity = {{ type = "cookie", name = "{STICKY}" }}\n' if p.sticky else ""
        rate = f'rate_limits = {{ rate = "{p.rate}/s", burst = {p.rate}, key = "header:X-Client" }}\n' if p.rate else ""
        servers = "".join(
            f'  [[backends.origin.servers]]\n  name = "{name}"\n  address = "127.0.0.1:{port}"\n'
            for name, port in self.ports.items()
        )
        return f"""[global]
workers = 2

[admin]
socket = "{self.folder}/admin.sock"

[log]
access = "{self.folder}/fastlb-access.log"
format = "httplog"
level = "info"

[timeouts]
connect = "1s"
header = "{p.header:g}s"
client = "15s"
server = "10s"
queue = "{p.queue:g}s"

[frontends.web]
listen = "{self.host}:{self.port}"
backend = "origin"
{rate}
[backends.origin]
balance = {balance}
{limit}health_check = {{ path = "/health", interval = "{p.check * 1000:.0f}ms", timeout = "1s", rise = 2, fall = 2 }}
{servers}"""

    def command(self) -> list[str]:
        return [self.program(), "-m", "fastlb", "serve", "-c", str(self.file)]

    def version(self) -> str:
        return _first_line(self.program(), "-m", "fastlb", "--version")

    def _change(self, server: str, state: str) -> None:
        connection = http.client.HTTPConnection("fastlb", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(f"{self.folder}/admin.sock")
        body = json.dumps({"state": state, "reason": "campaign"})
        connection.request("PATCH", f"/v1/backends/origin/servers/{server}", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"fastlb refused to make {server} {state}: {answer.read().decode()}")
        connection.close()

    def drain(self, server: str) -> None:
        self._change(server, "drain")

    def ready(self, server: str) -> None:
        self._change(server, "ready")

    def reload(self) -> None:
        self._signal(signal.SIGHUP)


class HAProxy(Peer):
    name = "haproxy"

    def configuration(self) -> str:
        p = self.pool
        kind, _, field = p.key.partition(":")
        hashed = {"cookie": f"hash req.cook({field})", "header": f"hash req.hdr({field})", "path": "uri path-only"}
        balance = {"round_robin": "roundrobin", "least_connections": "leastconn"}.get(p.balance) or hashed[kind]
        rate = (
            f"""  stick-table type string len 64 size 100k expire 10s store http_req_rate(1s)
  http-request track-sc0 req.hdr(X-Client)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {p.rate} }}
"""
            if p.rate
            else ""
        )
        limit = f" maxconn {p.limit}" if p.limit else ""
        servers = "".join(
            f"  server {name} 127.0.0.1:{port}{limit}{f' cookie {name}' if p.sticky else ''}\n"
            for name, port in self.ports.items()
        )
        consistent = "  hash-type consistent\n" if p.balance == "hash" else ""
        consistent += f"  cookie {STICKY} insert indirect nocache\n" if p.sticky else ""
        return f"""global
  nbthread 2
  log stdout format raw local0
  stats socket {self.folder}/haproxy.sock mode 600 level admin expose-fd listeners

defaults
  mode http
  log global
  option httplog
  option forwardfor
  http-reuse safe
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response
  timeout connect 1s
  timeout client 15s
  timeout server 10s
  timeout tunnel 1h
  timeout http-request {p.header * 1000:.0f}ms
  timeout http-keep-alive 75s
  timeout queue {p.queue * 1000:.0f}ms

frontend web
  bind {self.host}:{self.port}
  http-request disable-l7-retry unless METH_GET
{rate}  default_backend origin

backend origin
  balance {balance}
{consistent}  option httpchk GET /health
  default-server check inter {p.check * 1000:.0f}ms rise 2 fall 2
{servers}"""

    def command(self) -> list[str]:
        return [self.program(), "-W", "-db", "-f", str(self.file)]

    def version(self) -> str:
        return _first_line(self.program(), "-v")

    def _tell(self, line: str) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(f"{self.folder}/haproxy.sock")
            sock.sendall(line.encode() + b"\n")
            answer = sock.recv(4096).strip()
            if answer:
                raise RuntimeError(f"haproxy, {line}: {answer.decode()}")

    def drain(self, server: str) -> None:
        self._tell(f"set server origin/{server} state drain")

    def ready(self, server: str) -> None:
        self._tell(f"set server origin/{server} state ready")

    def reload(self) -> None:
        self._signal(signal.SIGUSR2)


class Nginx(Peer):
    name = "nginx"

    def __init__(self, pool: Pool, ports: dict[str, int], folder: Path, host: str = "127.0.0.1") -> None:
        super().__init__(pool, ports, folder, host)
        self._down: set[str] = set()

    def configuration(self) -> str:
        p = self.pool
        kind, _, field = p.key.partition(":")
        variable = {"cookie": f"$cookie_{field}", "header": f"$http_{field.lower().replace('-', '_')}", "path": "$uri"}
        balance = {"round_robin": "", "least_connections": "least_conn;"}.get(p.balance)
        if balance is None or p.sticky:
            balance = f"hash {variable[kind]} consistent;"
        limit = f" max_conns={p.limit}" if p.limit else ""
        servers = "".join(
            f"    server 127.0.0.1:{port} max_fails=2 fail_timeout=2s{limit}{' down' if name in self._down else ''};\n"
            for name, port in self.ports.items()
        )
        zone = f"  limit_req_zone $http_x_client zone=clients:8m rate={p.rate}r/s;\n" if p.rate else ""
        limited = (
            f"      limit_req zone=clients burst={p.rate} nodelay;\n      limit_req_status 429;\n" if p.rate else ""
        )
        return f"""daemon off;
worker_processes 2;
pid {self.folder}/nginx.pid;
error_log {self.folder}/nginx-error.log;
events {{ worker_connections 8000; }}
http {{
  access_log {self.folder}/nginx-access.log combined buffer=64k flush=1s;
  client_body_temp_path {self.folder};
  proxy_temp_path {self.folder};
  keepalive_requests 1000000;
  keepalive_timeout 75s;
  client_max_body_size 0;
  client_header_timeout {p.header * 1000:.0f}ms;
  client_body_timeout 15s;
  send_timeout 15s;
{zone}  map $http_upgrade $connection_header {{ default upgrade; '' ''; }}
  upstream origin {{
    zone origin 1m;
    {balance}
{servers}    keepalive 4096;
    keepalive_requests 1000000;
  }}
  server {{
    listen {self.host}:{self.port} backlog=4096;
    location / {{
{limited}      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_header;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_connect_timeout 1s;
      proxy_read_timeout 10s;
      proxy_send_timeout 10s;
      proxy_next_upstream_tries 3;
    }}
  }}
}}
"""

    def command(self) -> list[str]:
        return [self.program(), "-c", str(self.file), "-e", f"{self.folder}/nginx-error.log"]

    def version(self) -> str:
        return _first_line(self.program(), "-v")

    def drain(self, server: str) -> None:
        self._down.add(server)
        self.reload()

    def ready(self, server: str) -> None:
        self._down.discard(server)
        self.reload()

    def reload(self) -> None:
        self.file.write_text(self.configuration())
        self._signal(signal.SIGHUP)
        time.sleep(0.2)  # nginx tells nobody when its new workers have taken over


PEERS: dict[str, type[Peer]] = {"fastlb": Fastlb, "haproxy": HAProxy, "nginx": Nginx}
