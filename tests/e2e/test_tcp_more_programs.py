"""Further programs that speak their own protocols, through mode = "tcp": SSH, gRPC, WebSocket."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.helpers import Program, free_port, need

from .balancer import Balancer, Balancers
from .test_tcp import line, tcp

MEGABYTES = 4


def key(path: Path) -> Path:
    subprocess.run(
        [need("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, timeout=30
    )
    return path


def test_ssh(balancer: Balancers, start: Callable[..., Program], tmp_path: Path) -> None:
    """A command with megabytes each way, over one session; then one that ends with a status of its own."""
    sshd, ssh = need("sshd", "openssh-server"), need("ssh", "openssh-client")
    host, mine = key(tmp_path / "host"), key(tmp_path / "mine")
    (tmp_path / "known").write_text((tmp_path / "mine.pub").read_text())
    for path in (tmp_path, tmp_path / "known"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it shuts its unprivileged part in there
    port = free_port()
    server = start(
        [sshd, "-D", "-e", "-f", "/dev/null", "-h", host, "-p", str(port), "-o", "ListenAddress=127.0.0.1",
         "-o", f"AuthorizedKeysFile={tmp_path}/known", "-o", "StrictModes=no", "-o", "UsePAM=no",
         "-o", "PidFile=none", "-o", "PermitRootLogin=prohibit-password"]
    )  # fmt: skip
    server.wait_line("Server listening on 127.0.0.1")
    lb = tcp(balancer, f"127.0.0.1:{port}")
    to = [
        *(ssh, "-F", "/dev/null", "-i", mine, "-p", str(lb.ports["web"]), "-o", "StrictHostKeyChecking=no"),
        *("-o", f"UserKnownHostsFile={tmp_path}/hosts", "-o", "BatchMode=yes", f"{getpass.getuser()}@127.0.0.1"),
    ]
    data = os.urandom(MEGABYTES << 20)
    got = subprocess.run([*to, "cat"], input=data, capture_output=True, check=False, timeout=60)
    assert hashlib.sha256(got.stdout).digest() == hashlib.sha256(data).digest(), (got.stderr, server.output)
    assert line(lb)["term"] == "--"
    assert subprocess.run([*to, "exit 7"], capture_output=True, check=False, timeout=60).returncode == 7


@pytest.fixture
def rpc(balancer: Balancers) -> Iterator[Balancer]:
    """A balancer in front of a gRPC server that reverses: one message, and a stream."""

    def reverse(message: bytes, _context: grpc.ServicerContext) -> bytes:
        return message[::-1]

    def reverse_all(messages: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            yield message[::-1]

    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(reverse),
        "Many": grpc.stream_stream_rpc_method_handler(reverse_all),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Reverse", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield tcp(balancer, f"127.0.0.1:{port}")
    server.stop(None).wait()


def test_grpc(rpc: Balancer) -> None:
    """HTTP/2 without TLS: calls beside each other on one connection, a stream both ways, a megabyte."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{rpc.ports['web']}", options=options) as channel:
        one, many = channel.unary_unary("/test.Reverse/One"), channel.stream_stream("/test.Reverse/Many")
        assert one(b"abc", timeout=30) == b"cba"
        calls = [one.future(b"%05d" % number, timeout=30) for number in range(200)]
        assert [call.result() for call in calls] == [(b"%05d" % number)[::-1] for number in range(200)]
        sent = [bytes([number]) * 70_000 + b"end" for number in range(15)]
        assert list(many(iter(sent), timeout=30)) == [message[::-1] for message in sent]


def test_websocket_as_it_is(balancer: Balancers) -> None:
    """The upgrade passes by as any bytes do."""

    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async def run() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            lb = await asyncio.to_thread(tcp, balancer, f"127.0.0.1:{port}")
            async with connect(f"ws://127.0.0.1:{lb.ports['web']}/", proxy=None) as client:
                for message in ("hello", b"\0" * 300_000, ""):
                    await client.send(message)
                    assert await client.recv() == message
            assert (await asyncio.to_thread(line, lb))["term"] == "--"

    asyncio.run(run())
