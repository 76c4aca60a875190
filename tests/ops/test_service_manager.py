"""Under a service manager: notifications, passed sockets, process id, watched files, rotated logs, rights given up."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastlb.config import check_text
from fastlb.control.sockets import Inherited, Listeners
from fastlb.runtime.watch import watch
from fastlb.spec import Address, Frontend, Listen, Spec
from fastlb.testing import Origin, RawClient, respond
from tests.helpers import FASTLB, ROOT, free_port, need, wait_until

from .conftest import Manager, Served, certificate, config, get

# exec with the descriptors given as the first ones after the standard streams, as sd_listen_fds(3) has them
ACTIVATE = """
import os, sys
names, *fds = sys.argv[1].split("/")
for number, fd in enumerate(fds):
    os.dup2(int(fd), 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_the_service_manager_is_told(start, tmp_path: Path, port: int, manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"}
    pid_file = tmp_path / "fastlb.pid"
    with Origin(respond("x")) as origin:

        def begin(argv, **options):
            return start(argv, env=environment, **options)

        served = Served(begin, tmp_path, config(port, origin, global_=f"pid_file = '{pid_file}'"))
        assert manager.wait("READY")["STATUS"] == "2 workers, 1 frontend, 1 server"
        assert pid_file.read_text() == f"{served.program.pid}\n"
        for worker in served.workers:  # what is meant for the supervisor alone
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{worker}/environ").read_bytes()
        seen = len(manager.told)
        wait_until(lambda: sum("WATCHDOG" in m for m in manager.told[seen:]) >= 3, what="the watchdog's food")

        seen = len(manager.told)
        served.reload()
        assert int(manager.wait("RELOADING", seen)["MONOTONIC_USEC"]) > 0
        assert "failed" not in manager.wait("READY", seen)["STATUS"]
        seen = len(manager.told)
        served.reload("nonsense")
        assert manager.wait("READY", seen)["STATUS"].endswith("; the last reload failed")

        served.program.send(signal.SIGTERM)
        manager.wait("STOPPING")
        assert served.program.wait() == 0
        assert not pid_file.exists()


def test_passed_sockets_are_listened_on(start, tmp_path: Path, port: int) -> None:
    """By address; the queue outlives the program, because the service manager keeps the socket."""
    api, other = free_port(), free_port()
    path = tmp_path / "web.sock"
    file = tmp_path / "lb.toml"
    with (
        Origin(respond("x")) as origin,
        socket.create_server(("127.0.0.1", port)) as web,
        socket.create_server(("127.0.0.1", api)) as admin,
        socket.create_server(("127.0.0.1", other)) as unknown,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(str(path))
        local.listen()
        more = f"[frontends.local]\nlisten = 'unix:{path}'\nbackend = 'app'\n[admin]\nlisten = '127.0.0.1:{api}'"
        file.write_text(config(port, origin, more=more))
        passed = [web.fileno(), admin.fileno(), unknown.fileno(), local.fileno()]
        argv = [sys.executable, "-c", ACTIVATE, "/".join(["web:admin:unknown:local", *map(str, passed)])]
        with RawClient(("127.0.0.1", port), timeout=20) as early:
            early.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(2):
                program = start([*argv, *FASTLB, "serve", "-c", file], cwd=ROOT, pass_fds=passed)
                program.wait_line("fastlb ready", 20)
                program.wait_line(f"nothing listens on 127.0.0.1:{other} any more, whose socket was passed on")
                assert get(port).body == b"x"
                with RawClient(str(path)) as client:
                    assert client.get("/").body == b"x"
                with urllib.request.urlopen(f"http://127.0.0.1:{api}/healthz", timeout=20) as answer:
                    assert answer.status == 200
                program.send(signal.SIGTERM)
                assert program.wait() == 0
                assert path.exists()  # not ours to remove
            assert early.response().body == b"x"


def test_two_frontends_and_sockets_of_one_address_go_by_name() -> None:
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind(("127.0.0.1", 0))
        where = first.getsockname()
        second.bind(where)
        first.listen()
        second.listen()
        endpoint = (int(socket.AF_INET), where)
        listeners = Listeners(1)
        listeners.inherit([Inherited(endpoint, (first,), name="b"), Inherited(endpoint, (second,), name="a")])
        address = Address("127.0.0.1", where[1])
        names = ("a", "b")
        listeners.open(Spec(tuple(Frontend(n, (Listen(address),), backend="x") for n in names), backends=()))
        assert {name: sock for _, name, _, sock in listeners.of_slot(0)} == {"a": second, "b": first}
        assert listeners.take_unclaimed() == []


def test_a_pid_file_that_cannot_be_written_is_named(serve, port: int, tmp_path: Path) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, global_=f"pid_file = '{tmp_path}/none/pid'"), wait=False)
        assert served.program.wait(20) == 2
        assert "global.pid_file" in served.program.output
        assert "cannot be written: No such file or directory" in served.program.output


def test_changed_files_are_reloaded(serve, port: int, tmp_path: Path) -> None:
    """The configuration and the certificates that it names."""
    secure = free_port()
    cert = tmp_path / "site.pem"

    def install(name: str) -> None:
        beside = certificate(tmp_path / name)
        beside.replace(cert)

    install("one.pem")
    with Origin(respond("one")) as one, Origin(respond("two")) as two:

        def text(origin: Origin) -> str:
            listen = f"listen = [{{ address = '127.0.0.1:{secure}', tls = {{ cert = '{cert}' }} }}]"
            more = f"[frontends.secure]\n{listen}\nbackend = 'app'"
            return config(port, origin, global_="watch = true", more=more)

        served = serve(text(one))
        assert get(port).body == b"one"
        served.write(text(two))
        wait_until(lambda: get(port).body == b"two", 20, "the new server")
        before = peer(secure)
        install("two.pem")
        wait_until(lambda: peer(secure) != before, 20, "the new certificate")


def test_what_is_watched_is_seen_once_and_when_it_is_whole(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    folder.mkdir()
    file.write_text("1")
    files: list[str] = []
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def run() -> None:
        watching = asyncio.create_task(watch(lambda: files, lambda: seen.put_nowait(file.read_text()), period=0.02))
        try:
            # not watched: nothing can come of it, and what it is when it joins the list is what it was
            file.write_text("2")
            await asyncio.sleep(0.05)
            files[:] = [str(file), str(folder)]
            await asyncio.sleep(0.1)
            assert seen.empty()
            file.unlink()  # as between two steps of an editor
            await asyncio.sleep(0.05)
            file.write_text("3")
            assert await asyncio.wait_for(seen.get(), 10) == "3"
            (folder / "new.pem").write_text("x")
            assert await asyncio.wait_for(seen.get(), 10) == "3"
            (folder / "new.pem").write_text("longer")
            assert await asyncio.wait_for(seen.get(), 10) == "3"
            (folder / "new.pem").unlink()
            assert await asyncio.wait_for(seen.get(), 10) == "3"
        finally:
            watching.cancel()

    asyncio.run(run())


def peer(port: int) -> bytes:
    """The certificate that a TLS listener shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""


def test_rotated_logs_are_reopened(serve, port: int, tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, log=str(path)))
        get(port, "/before")
        wait_until(lambda: "/before" in path.read_text(), what="the first line")
        path.rename(old)
        served.program.send(signal.SIGUSR1)
        wait_until(path.exists, what="the new file")
        get(port, "/after")
        wait_until(lambda: "/after" in path.read_text(), what="the line in the new file")
        assert "/after" not in old.read_text()


def test_a_user_who_is_unknown_or_out_of_reach(serve, port: int) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, global_="user = 'no-such-user'\ngroup = 'no-such-group'"), wait=False)
        assert served.program.wait(20) == 2
        assert 'global.user = "no-such-user": there is no such user' in served.program.output
        assert 'global.group = "no-such-group": there is no such group' in served.program.output


NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may read and only we may write to."""
    folder = Path(tempfile.mkdtemp(prefix="fastlb-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def ids(pid: int) -> dict[str, set[int]]:
    """Uid, Gid and Groups of a process, each with all that it has."""
    lines = (line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: {int(n) for n in value.split()} for name, value in lines if name in ("Uid", "Gid", "Groups")}


# Shows everybody what of $1, a folder of root's alone, is needed to run fastlb: to this program and its children only.
SHOW = """
set -e
hidden=$1 beside=$2; shift 2
n=0
for place; do [ "$place" = -- ] && break; n=$((n + 1)); mkdir "$beside/$n"; mount --bind "$place" "$beside/$n"; done
mount -t tmpfs none "$hidden"; chmod 755 "$hidden"
n=0
while [ "$1" != -- ]; do n=$((n + 1)); mkdir -p "$1"; mount --bind "$beside/$n" "$1"; shift; done
shift; exec "$@"
"""


def as_everybody(beside: Path) -> list[str]:
    """What has to stand before a command so that everybody can run it: the interpreter may lie in root's home."""
    places = {ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    parents = {parent for place in places for parent in place.parents if not parent.stat().st_mode & 0o001}
    if not parents:
        return []
    hidden = min(parents, key=lambda path: len(path.parts))
    within = [str(place) for place in sorted(places) if hidden in place.parents]
    return [need("unshare", "util-linux"), "-m", "sh", "-c", SHOW, "sh", str(hidden), str(beside), *within, "--"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")
def test_rights_are_given_up_and_everything_goes_on(start, public: Path, port: int) -> None:
    before = as_everybody(public)
    if before and subprocess.run([*before[:2], "true"], check=False).returncode:
        pytest.skip("the interpreter can be run by root alone, and there may be no namespaces of mounts")
    log, pid_file, admin, local = (public / name for name in ("access.log", "pid", "admin.sock", "web.sock"))
    mine = {"Uid": {NOBODY.pw_uid}, "Gid": {NOBODY.pw_gid}, "Groups": set(os.getgrouplist("nobody", NOBODY.pw_gid))}
    with Origin(respond("one")) as one, Origin(respond("two")) as two:

        def text(origin: Origin) -> str:
            return config(
                port, origin, global_=f"user = 'nobody'\npid_file = '{pid_file}'", log=str(log),
                more=f"[admin]\nsocket = '{admin}'\n[frontends.local]\nlisten = 'unix:{local}'\nbackend = 'app'",
            )  # fmt: skip

        served = Served(lambda argv, **rest: start([*before, *argv], **rest), public, text(one))
        for pid in (served.program.pid, *served.workers):
            assert ids(pid) == mine
        assert log.stat().st_uid == admin.stat().st_uid == NOBODY.pw_uid
        assert pid_file.read_text() == f"{served.program.pid}\n"
        assert get(port, "/tcp").body == b"one"
        with RawClient(str(local)) as client:
            assert client.get("/unix").body == b"one"
        wait_until(lambda: "/tcp" in log.read_text() and "/unix" in log.read_text(), what="the lines of the log")
        served.reload(text(two))
        assert get(port).body == b"two"
        # as logrotate does with `create`: the directory is not the program's
        log.rename(public / "access.log.1")
        log.touch(0o640)
        os.chown(log, NOBODY.pw_uid, NOBODY.pw_gid)
        served.program.send(signal.SIGUSR1)
        served.program.wait_line("log files are reopened")

        def written() -> bool:
            get(port, "/rotated")
            return "/rotated" in log.read_text()

        wait_until(written, what="a line in the new file")
        os.kill(served.workers[0], signal.SIGKILL)  # a successor is somebody of the same rights
        served.program.wait_line("was killed by SIGKILL")
        wait_until(lambda: len(served.workers) == 2, what="the successor")
        assert all(ids(pid) == mine for pid in served.workers)
        served.program.send(signal.SIGTERM)
        assert served.program.wait() == 0
        assert pid_file.read_text() == ""  # the directory is not ours to remove it from


def test_what_the_page_shows_loads() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        assert check_text(block).errors == ()
