"""The servers behind the compared proxies: nginx where it is installed, and one of ours for uploads and tunnels."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import cast

from fastlb.bench.peers import Setup, find
from fastlb.bench.process import Child, free_ports
from fastlb.bench.scene import connections_possible

SMALL_BODY = "x" * 119 + "\n"  # 120 bytes
MB = 1024 * 1024
FILES = {"1k": 1024, "64k": 64 * 1024, "1m": MB, "100m": 100 * MB}


class Origin:
    """nginx with `count` listening ports that each stand for a server; `echo` is that of uploads and tunnels."""

    def __init__(self, setup: Setup, count: int = 2) -> None:
        program = find("nginx")
        if program is None:
            raise SystemExit("the servers behind the proxies are nginx: apt-get install nginx-light")
        *ports, self.echo = free_ports(count + 1)
        self.ports = tuple(ports)
        # files from memory where there is a place for it: the disk is not measured
        shared = Path("/dev/shm")
        self._files = Path(tempfile.mkdtemp(prefix="fastlb-compare-", dir=shared if shared.is_dir() else None))
        self._files.chmod(0o755)
        for name, size in FILES.items():
            (self._files / name).write_bytes(b"0123456789abcdef" * (size // 16))
        listens = "".join(f"    listen 127.0.0.1:{port} backlog=4096;\n" for port in self.ports)
        self.config = f"""daemon off;
worker_processes 1;
pid {setup.folder}/origin.pid;
error_log {setup.folder}/origin-error.log;
events {{ worker_connections {connections_possible() + 500}; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  default_type text/plain;
  client_max_body_size 0;
  client_body_temp_path {self._files};
  server {{
{listens}    root {self._files};
    location / {{ try_files $uri @small; }}
    location @small {{ return 200 "{SMALL_BODY.strip()}\\n"; }}
    location = /small {{ return 200 "{SMALL_BODY.strip()}\\n"; }}
    location = /seen {{ return 200 "$server_port|$http_x_forwarded_for|$http_x_forwarded_proto|$http_connection"; }}
  }}
}}
"""
        path = setup.folder / "origin.conf"
        path.write_text(self.config)
        errors = f"{setup.folder}/origin-error.log"
        self._children = [
            Child([program, "-c", str(path), "-e", errors], {setup.load_core}, setup.folder / "origin.out"),
            Child(
                [sys.executable, "-m", "fastlb.bench.origin", str(self.echo)],
                {setup.load_core},
                setup.folder / "echo.out",
            ),
        ]
        try:
            for child, port in zip(self._children, (self.ports[0], self.echo), strict=True):
                child.wait_port(port)
        except RuntimeError:
            self.stop()  # nobody else could: there is no object yet
            raise

    def stop(self) -> None:
        for child in self._children:
            child.stop()
        shutil.rmtree(self._files, ignore_errors=True)


class _Echo(asyncio.Protocol):
    """Takes uploads, and tunnels: answers a head with Upgrade by 101 and sends back whatever follows."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head, self._tunnel, self._left = b"", False, 0

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            self._transport.write(data)
        elif self._left:
            self._took(len(data))
        else:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            if b"pgrade:" in head:
                self._tunnel = True
                accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  # of the sample nonce of RFC 6455
                start = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                self._transport.write(start + accept + b"\r\n" + rest)
            else:
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                self._left = int(length.group(1)) if length else 0
                self._took(len(rest))

    def _took(self, size: int) -> None:
        self._left -= size
        if self._left <= 0:
            self._left = 0
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
