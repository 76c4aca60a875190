"""Options of sockets: the kernel has what the configuration says, for listeners, clients and server connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastlb.config import check_text
from fastlb.control.sockets import ListenError, Listeners
from fastlb.control.tcp_options import check_servers
from fastlb.errors import ConfigError
from fastlb.runtime import Embedded
from fastlb.spec import Spec
from tests.helpers import ROOT, free_port, need

from .toml import dump
from .wire import PATIENCE, Origin

KEEPALIVE = {"idle": "61s", "interval": "7s", "count": 4}
SO_BINDTODEVICE, TCP_USER_TIMEOUT, TCP_FASTOPEN = 25, 18, 23


def configured(listen: dict[str, Any], server: dict[str, Any] | None = None, address: str = "127.0.0.1:1") -> Spec:
    report = check_text(
        dump(
            {
                "global": {"workers": 0},
                "log": {"access": "off"},
                "frontends": {"web": {"mode": "tcp", "backend": "app", "listen": [listen]}},
                "backends": {"app": {"mode": "tcp", "servers": [address], "tcp": server or {}}},
            }
        )
    )
    assert report.spec is not None, report.errors
    return report.spec


@contextlib.contextmanager
def listening(spec: Spec, slots: int = 2) -> Iterator[Listeners]:
    listeners = Listeners(slots)
    listeners.open(spec)
    try:
        yield listeners
    finally:
        listeners.close()


def sockets(listeners: Listeners) -> list[socket.socket]:
    return [sock for slot in range(listeners.slots) for _, _, _, sock in listeners.of_slot(slot)]


def number(sock: socket.socket, name: int, level: int = socket.IPPROTO_TCP) -> int:
    return sock.getsockopt(level, name)


def test_listeners_and_their_connections() -> None:
    tcp = {"keepalive": KEEPALIVE, "user_timeout": "20s", "nodelay": False, "tos": 0x10, "fastopen": 32}
    with listening(configured({"address": "127.0.0.1:0", "tcp": tcp}), slots=1) as listeners:
        (sock,) = sockets(listeners)
        sock.settimeout(PATIENCE)
        with socket.create_connection(sock.getsockname()), sock.accept()[0] as taken:
            for each in (sock, taken):
                assert number(each, socket.SO_KEEPALIVE, socket.SOL_SOCKET) == 1
                assert number(each, socket.TCP_KEEPIDLE) == 61
                assert number(each, socket.TCP_KEEPINTVL) == 7
                assert number(each, socket.TCP_KEEPCNT) == 4
                assert number(each, TCP_USER_TIMEOUT) == 20_000
                assert number(each, socket.TCP_NODELAY) == 0
                assert number(each, socket.IP_TOS, socket.IPPROTO_IP) == 0x10
        assert number(sock, TCP_FASTOPEN) == 32


def test_a_short_queue_of_connections() -> None:
    """The kernel's own table shows the length of a listener's queue (Send-Q)."""
    with listening(configured({"address": "127.0.0.1:0", "tcp": {"backlog": 5}}), slots=1) as listeners:
        port = sockets(listeners)[0].getsockname()[1]
        line = subprocess.run(
            [need("ss", "iproute2"), "-ltnH", f"sport = :{port}"], capture_output=True, text=True, check=True
        ).stdout.split()
        assert line[2] == "5"


def test_a_first_byte_is_awaited() -> None:
    with listening(configured({"address": "127.0.0.1:0", "tcp": {"defer_accept": "30s"}}), slots=1) as listeners:
        (sock,) = sockets(listeners)
        assert number(sock, socket.TCP_DEFER_ACCEPT) >= 30
        sock.settimeout(PATIENCE)
        where = sock.getsockname()
        with socket.create_connection(where) as silent, socket.create_connection(where) as two:
            two.sendall(b"x")
            taken, peer = sock.accept()
            with taken:
                assert peer == two.getsockname() != silent.getsockname()


def test_an_interface() -> None:
    with listening(configured({"address": "127.0.0.1:0", "tcp": {"interface": "lo"}}), slots=1) as listeners:
        assert sockets(listeners)[0].getsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    listeners = Listeners(1)
    with pytest.raises(ListenError, match=r"tcp\.interface: there is no such interface"):
        listeners.open(configured({"address": "127.0.0.1:0", "tcp": {"interface": "nowhere0"}}))
    spec = configured({"address": "127.0.0.1:0"}, {"interface": "nowhere0"})
    with pytest.raises(ConfigError, match=r"tcp\.interface: there is no such interface"):
        check_servers(spec)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is not an address of this machine"):
        check_servers(configured({"address": "127.0.0.1:0"}, {"source": "192.0.2.1"}))


def test_a_reload_changes_the_sockets_that_stay() -> None:
    port = free_port()
    with listening(configured({"address": f"127.0.0.1:{port}", "tcp": {"keepalive": True}})) as listeners:
        before = sockets(listeners)
        assert [number(sock, socket.SO_KEEPALIVE, socket.SOL_SOCKET) for sock in before] == [1, 1]
        listeners.adopt(listeners.plan(configured({"address": f"127.0.0.1:{port}", "tcp": {"user_timeout": "3s"}})))
        listeners.release()
        assert sockets(listeners) == before
        for sock in before:
            assert number(sock, socket.SO_KEEPALIVE, socket.SOL_SOCKET) == 0
            assert number(sock, TCP_USER_TIMEOUT) == 3000


def test_one_socket_for_both_families() -> None:
    port = free_port("::")
    with listening(configured({"address": f"[::]:{port}", "tcp": {"v6only": False}}), slots=1) as listeners:
        (sock,) = sockets(listeners)
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("::1", port)):
            sock.settimeout(PATIENCE)
            peers = set()
            for _ in range(2):
                taken, peer = sock.accept()
                taken.close()
                peers.add(peer[0])
        assert peers == {"::ffff:127.0.0.1", "::1"}
        listeners.adopt(listeners.plan(configured({"address": f"[::]:{port}"})))
        listeners.release()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        socket.create_connection(("::1", port)).close()


def test_connections_to_servers() -> None:
    origin = Origin()
    tcp = {"keepalive": KEEPALIVE, "user_timeout": "20s", "nodelay": False, "tos": 8, "source": "127.0.0.77"}
    spec = configured({"address": "127.0.0.1:0"}, tcp | {"interface": "lo"}, origin.address)

    async def run() -> None:
        async with Embedded(spec) as lb:
            where = lb.addresses["web"][0]
            reader, writer = await asyncio.open_connection(*where)
            wire = await asyncio.to_thread(origin.accept)
            assert wire.sock.getpeername()[0] == "127.0.0.77"
            ours = _socket_to(origin.where, wire.sock.getpeername())
            with ours:
                assert number(ours, socket.SO_KEEPALIVE, socket.SOL_SOCKET) == 1
                assert number(ours, socket.TCP_KEEPIDLE) == 61
                assert number(ours, socket.TCP_KEEPCNT) == 4
                assert number(ours, TCP_USER_TIMEOUT) == 20_000
                assert number(ours, socket.TCP_NODELAY) == 0
                assert number(ours, socket.IP_TOS, socket.IPPROTO_IP) == 8
                assert ours.getsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
            wire.send("hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            wire.close()

    asyncio.run(run())


def _socket_to(peer: tuple[str, int], here: tuple[str, int]) -> socket.socket:
    """A copy of this process's own socket from `here` to `peer`: the balancer runs in this process."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            copy = socket.socket(fileno=os.dup(int(entry.name)))
            if copy.family == socket.AF_INET and copy.getsockname() == here and copy.getpeername() == peer:
                return copy
            copy.close()
    raise AssertionError(f"no socket to {peer}")


# In a network of its own: the client of a PROXY header is nobody's address; replies to it come back by a rule.
_TRANSPARENT = """
import asyncio, socket, sys
from fastlb.config import check_text
from fastlb.control.tcp_options import check_servers
from fastlb.runtime import Embedded

def serve(): return socket.create_server(("127.0.0.1", 0))

async def run():
    server = serve()
    port = server.getsockname()[1]
    text = f'''
    global.workers = 0
    log.access = "off"
    backends.app = {{ mode = "tcp", servers = ["127.0.0.1:{port}"], tcp = {{ source = "client", mark = 7 }} }}
    [frontends.web]
    mode = "tcp"
    backend = "app"
    listen = [{{ address = "127.0.0.1:0", proxy_protocol = ["127.0.0.0/8"] }}]
    '''
    report = check_text(text)
    assert report.spec is not None, report.errors
    async with Embedded(report.spec) as lb:
        reader, writer = await asyncio.open_connection(*lb.addresses["web"][0])
        writer.write(b"PROXY TCP4 203.0.113.7 127.0.0.1 4242 80\\r\\nping")
        server.settimeout(10)
        wire, peer = await asyncio.to_thread(server.accept)
        assert peer[0] == "203.0.113.7", peer
        assert await asyncio.to_thread(wire.recv, 10) == b"ping"
        wire.sendall(b"pong")
        assert await reader.readexactly(4) == b"pong"
        wire.close()
        writer.close()
    print("transparent")

with socket.socket() as plain:
    try:
        plain.bind(("203.0.113.7", 0))
    except OSError:
        asyncio.run(run())
    else:
        print("the address is local: this proves nothing")
"""


def test_the_clients_own_address() -> None:
    ip, unshare = need("ip", "iproute2"), need("unshare", "util-linux")
    apart = [unshare, "-n"] if os.getuid() == 0 else [unshare, "-r", "-n"]
    if subprocess.run([*apart, ip, "link", "set", "lo", "up"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    rules = (
        f"{ip} link set lo up && {ip} rule add from all lookup 100 && "
        f"{ip} route add local 203.0.113.0/24 dev lo table 100"
    )
    got = subprocess.run(
        [*apart, "sh", "-c", f'{rules} && exec "$0" -c "$1"', sys.executable, _TRANSPARENT],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert got.stdout == "transparent\n", got.stdout + got.stderr


def test_a_missing_right_is_refused_with_its_name() -> None:
    """Root gives the right up for it."""
    code = (
        "import socket; from fastlb.control.tcp_options import check_servers; from fastlb.config import check_text; "
        "from fastlb.errors import ConfigError\n"
        'r = check_text(\'frontends.a = { mode = "tcp", listen = ":1", backend = "b" }\\n'
        'backends.b = { mode = "tcp", servers = "127.0.0.1:1", tcp = { mark = 1 } }\')\n'
        "try: check_servers(r.spec)\n"
        "except ConfigError as e: print(e)\n"
    )
    drop = [need("setpriv", "util-linux"), "--bounding-set=-net_admin,-net_raw", "--inh-caps=-all"]
    argv = drop if os.getuid() == 0 else []
    got = subprocess.run(
        [*argv, sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )
    assert "tcp.mark: permission denied: it needs root or CAP_NET_ADMIN" in got.stdout, got.stdout + got.stderr


def test_what_has_no_meaning_is_refused() -> None:
    text = """
        [global]
        user = "nobody"
        [frontends.a]
        mode = "tcp"
        backend = "t"
        [[frontends.a.listen]]
        address = "unix:/tmp/x"
        tcp = { keepalive = true, backlog = 5 }
        [[frontends.a.listen]]
        address = ":81"
        tcp = { v6only = false, interface = "a-name-that-is-too-long", tos = 256 }
        [backends.t]
        mode = "tcp"
        servers = "127.0.0.1:1"
        tcp = { source = "client", mark = 1 }
        [backends.h]
        servers = "127.0.0.1:2"
        tcp = { source = "clients" }
    """
    keys = {problem.key for problem in check_text(text).errors}
    assert {
        "frontends.a.listen[0].tcp.keepalive", "frontends.a.listen[1].tcp.interface", "frontends.a.listen[1].tcp.tos",
        "backends.t.tcp.source", "backends.t.tcp.mark", "backends.h.tcp.source",
    } <= keys  # fmt: skip
    assert "frontends.a.listen[0].tcp.backlog" not in keys
