"""Listening sockets: options, both families, Unix files, errors that say what to do."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastlb.control.bind import backlog
from fastlb.control.sockets import ListenError, Listeners
from fastlb.spec import Address, Frontend, Listen, Mode, Spec


def spec(*addresses: Address, mode: Mode = Mode.HTTP) -> Spec:
    return Spec((Frontend("web", tuple(Listen(a) for a in addresses), mode=mode),), ())


@pytest.fixture
def bind() -> Iterator[Callable[..., Listeners]]:
    made: list[Listeners] = []

    def begin(*addresses: Address, slots: int = 2, reuse_port: bool = True) -> Listeners:
        listeners = Listeners(slots, reuse_port)
        made.append(listeners)
        listeners.open(spec(*addresses))
        return listeners

    yield begin
    for listeners in made:
        listeners.close()


def test_one_socket_a_slot_on_one_port(bind) -> None:
    listeners = bind(Address("127.0.0.1", 0), slots=3)
    (entry,) = zip(*(list(listeners.of_slot(n)) for n in range(3)), strict=True)
    socks = [sock for _, _, _, sock in entry]
    assert len({s.fileno() for s in socks}) == 3
    assert len({s.getsockname() for s in socks}) == 1
    assert listeners.addresses() == {"web": [socks[0].getsockname()]}
    for sock in socks:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert not sock.get_inheritable()
        assert not sock.getblocking()


def test_backlog_is_what_the_kernel_allows() -> None:
    assert backlog() == int(Path("/proc/sys/net/core/somaxconn").read_text())


def test_port_alone_means_both_families(bind) -> None:
    listeners = bind(Address("", 0))
    (four, six) = listeners.addresses()["web"]
    assert (four[0], six[0]) == ("0.0.0.0", "::")
    assert four[1] == six[1]
    assert [(name, index) for _, name, index, _ in listeners.of_slot(1)] == [("web", 0), ("web", 0)]
    sixes = [s for _, _, _, s in listeners.of_slot(0) if s.family == socket.AF_INET6]
    assert sixes[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    socket.create_connection(("127.0.0.1", four[1])).close()
    socket.create_connection(("::1", four[1])).close()


def test_indices_are_those_of_the_listen_list(bind) -> None:
    listeners = bind(Address("127.0.0.1", 0), Address("", 0), Address("::1", 0))
    assert [index for _, _, index, _ in listeners.of_slot(0)] == [0, 1, 1, 2]
    assert listeners.count() == 4


def test_a_name_is_looked_up(bind) -> None:
    places = bind(Address("localhost", 0)).addresses()["web"]
    assert {host for host, _ in places} <= {"127.0.0.1", "::1"}
    assert places


def test_what_another_program_listens_on_is_refused(bind) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # it would share
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ListenError, match="in use by another program"):
            bind(Address(*other.getsockname()))


@pytest.mark.parametrize("reuse_port", [True, False])
def test_a_failure_leaves_nothing_open(bind, reuse_port: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ListenError) as caught:
            bind(Address("127.0.0.1", 0), Address(*other.getsockname()), Address("192.0.2.7", 80), slots=1,
                 reuse_port=reuse_port)  # fmt: skip
        assert len(os.listdir("/proc/self/fd")) == before
    keys = [p.key for p in caught.value.problems]
    assert keys == ["frontends.web.listen[1]", "frontends.web.listen[2]"]
    assert caught.value.problems[1].reason == "not an address of this machine"


def test_unknown_name(bind) -> None:
    with pytest.raises(ListenError, match="name cannot be resolved"):
        bind(Address("nowhere.invalid", 80))


def test_tcp_and_udp_have_their_ports_each(bind) -> None:
    port = next(iter(bind(Address("127.0.0.1", 0)).addresses().values()))[0][1]
    listeners = Listeners(2)
    try:
        listeners.open(spec(Address("127.0.0.1", port), mode=Mode.UDP))
        (place,) = listeners._places
        assert [sock.type for sock in place.sockets] == [socket.SOCK_DGRAM] * 2
    finally:
        listeners.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a right up")
def test_privileged_port_without_the_right() -> None:
    """In a child process, which gives its rights up."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            Path("/proc/self/attr")  # keeps pathlib loaded before the change of user
            os.setuid(65534)
            Listeners(1).open(spec(Address("127.0.0.1", 1)))
            os.write(write, b"bound")
        except ListenError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    text = os.read(read, 1000).decode()
    os.close(read)
    os.waitpid(pid, 0)
    if text == "bound":
        assert int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1
    else:
        assert "permission denied: ports below" in text
        assert "CAP_NET_BIND_SERVICE" in text


def test_unix_socket_is_shared_open_to_all_and_removed(bind, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    listeners = bind(Address(path=str(path)), slots=3)
    assert len({sock.fileno() for n in range(3) for _, _, _, sock in listeners.of_slot(n)}) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert listeners.addresses() == {"web": [str(path)]}
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listeners.close()
    assert not path.exists()


def test_stale_unix_file_is_replaced(bind, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    bind(Address(path=str(path)))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_unix_socket_in_use(bind, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ListenError, match="in use by another program"):
            bind(Address(path=str(path)))
        assert path.exists()


def test_a_file_in_the_way_is_kept(bind, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="exists and is not a socket"):
        bind(Address(path=str(path)))
    assert path.read_text() == "precious"


def test_a_successors_file_is_not_removed(bind, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    first = bind(Address(path=str(path)))
    path.unlink()
    bind(Address(path=str(path)))
    first.close()
    assert path.exists()


def test_abstract_socket(bind) -> None:
    name = f"@fastlb-test-{os.getpid()}"
    bind(Address(path=name))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name[1:])


def taken(sock: socket.socket) -> int:
    """Connections that wait in the queue of a listening socket; they are accepted and closed."""
    count = 0
    while True:
        try:
            conn, _ = sock.accept()
        except BlockingIOError:
            return count
        conn.close()
        count += 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sockets_of_workers_that_left_run_dry(bind, host: str) -> None:
    """Who is in the queue of one is still served; nobody comes after; and the others share all who come."""
    listeners = bind(Address(host, 0), slots=4)
    (name,) = listeners.addresses()["web"]

    def sockets(slots: int) -> list[socket.socket]:
        found = {number: sock for slot in range(slots) for number, _, _, sock in listeners.of_slot(slot)}
        return [found[number] for number in sorted(found)]

    def come(count: int) -> None:
        for _ in range(count):
            clients.append(socket.create_connection(name))

    clients: list[socket.socket] = []
    try:
        come(100)
        listeners.share(3)
        listeners.adopt(listeners.plan(spec(Address(host, 0))))
        listeners.narrow()
        assert listeners.surplus()
        four = sockets(3)
        before = taken(four[3])
        assert before and before + sum(taken(sock) for sock in four[:3]) == 100
        come(300)
        shares = [taken(sock) for sock in four]
        assert shares[3] == 0 and sum(shares) == 300 and min(shares[:3]) > 50, shares

        listeners.trim()
        (number,) = listeners.leaving()
        assert number not in {number for slot in range(3) for number, _, _, _ in listeners.of_slot(slot)}
        listeners.release()
        assert four[3].fileno() == -1 and not listeners.surplus()
        come(100)
        assert sum(taken(sock) for sock in four[:3]) == 100

        listeners.share(4)
        listeners.adopt(listeners.plan(spec(Address(host, 0))))
        listeners.narrow()
        come(300)
        shares = [taken(sock) for sock in sockets(4)]
        assert len(shares) == 4 and sum(shares) == 300 and min(shares) > 30, shares
    finally:
        for client in clients:
            client.close()
