"""Reload: the new configuration runs, what did not change lives on, a wrong one changes nothing."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest

from fastlb.testing import ConnectionEnded, Delay, Origin, RawClient, by_path, respond
from tests.helpers import accepts, free_port, wait_until

from .conftest import config, generation, get


@pytest.mark.parametrize("workers", [0, 2])
def test_servers_and_routes_follow_the_file(serve, port: int, workers: int) -> None:
    with Origin(respond("one")) as one, Origin(respond("two")) as two:
        served = serve(config(port, one, workers=workers))
        assert get(port).body == b"one"
        route = "[[frontends.web.routes]]\npath = '/fixed'\nrespond = { status = 201, body = 'here' }"
        line = served.reload(config(port, two, workers=workers, more=route))
        assert generation(line) == 2
        assert {get(port).body for _ in range(8)} == {b"two"}
        assert get(port, "/fixed").status == 201
        log = served.program.output
        assert f"+ server app/{two.name}" in log
        assert f"- server app/{one.name}" in log
        assert "+ route web route /fixed" in log


def test_a_kept_connection_gets_the_new_routes_and_stays(serve, port: int) -> None:
    with Origin(respond("one")) as one, Origin(respond("two")) as two:
        served = serve(config(port, one, workers=1))
        with RawClient(("127.0.0.1", port)) as client:
            assert client.get("/").body == b"one"
            served.reload(config(port, two, workers=1))
            answer = client.get("/")
            assert answer.body == b"two"
            assert answer.header("connection") is None


def test_what_is_in_flight_ends_as_it_began(serve, port: int) -> None:
    with Origin([Delay(1.0), *respond("slow")]) as slow, Origin(respond("new")) as new:
        served = serve(config(port, slow, workers=1))
        with RawClient(("127.0.0.1", port)) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            slow.wait_requests(1)
            served.reload(config(port, new, workers=1))
            assert get(port).body == b"new"
            assert client.response().body == b"slow"
            assert client.get("/").body == b"new"


def test_idle_connections_to_servers_that_stay_are_kept(serve, port: int) -> None:
    with Origin(respond("x")) as stays, Origin(respond("x")) as goes:
        served = serve(config(port, stays, goes, workers=1, backend="balance = 'round_robin'"))
        for _ in range(4):
            get(port)
        assert (stays.connections, goes.connections) == (1, 1)
        served.reload(config(port, stays, workers=1, backend="balance = 'round_robin'\nretries = 1"))
        wait_until(lambda: goes.open_connections == 0, what="the end of the idle connection")
        for _ in range(4):
            get(port)
        assert stays.connections == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_listeners_come_and_go(serve, workers: int) -> None:
    first, second = free_port(), free_port()
    with Origin(respond("x")) as origin:
        served = serve(config(first, origin, workers=workers))
        served.reload(config([first, second], origin, workers=workers))
        assert get(second).body == b"x"
        with RawClient(("127.0.0.1", first)) as idle, RawClient(("127.0.0.1", second)) as kept:
            assert (idle.get("/").status, kept.get("/").status) == (200, 200)
            served.reload(config(second, origin, workers=workers))
            wait_until(lambda: not accepts(("127.0.0.1", first)), what="the end of the listener")
            # its connections are told with their next answer, those of the other address go on
            last = idle.get("/")
            assert last.header("connection") == "close"
            assert idle.at_end()
            assert kept.get("/").header("connection") is None
            assert kept.get("/").status == 200


def test_an_address_may_move_to_another_frontend(serve, port: int) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config({"web": port}, origin))
        with RawClient(("127.0.0.1", port)) as old:
            assert old.get("/").status == 200
            more = "[[frontends.www.routes]]\npath = '/new'\nrespond = { body = 'www' }"
            served.reload(config({"www": port}, origin, more=more))
            assert {get(port, "/new").body for _ in range(8)} == {b"www"}
            assert old.get("/").header("connection") == "close"


def test_unix_listeners_come_and_go(serve, port: int, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin))
        more = f"[frontends.local]\nlisten = 'unix:{path}'\nbackend = 'app'"
        served.reload(config(port, origin, more=more))
        for _ in range(4):
            with RawClient(str(path)) as client:
                assert client.get("/").status == 200
        served.reload(config(port, origin))
        wait_until(lambda: not path.exists(), what="the end of the socket's file")


@pytest.mark.parametrize(
    ("broken", "reasons"),
    [
        ("[frontends.web", ["not valid TOML"]),
        (
            "[frontends.web]\nlisten = ':80x'\nbackend = 'nowhere'\n[backends.app]\nservers = ['a:1']\nretries = 9",
            [r"frontends\.web\.listen = ", r"frontends\.web\.backend = ", r"backends\.app\.retries = 9"],
        ),
    ],
)
def test_a_wrong_file_changes_nothing_and_every_error_is_named(serve, port: int, broken: str, reasons) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin))
        pids = served.workers
        assert "nothing is changed" in served.reload(broken)
        for reason in reasons:
            assert re.search(f"error: .*{reason}", served.program.output, re.IGNORECASE), reason
        assert get(port).body == b"x"
        assert served.workers == pids
        assert generation(served.reload(config(port, origin))) == 2


def test_an_address_in_use_changes_nothing(serve, port: int) -> None:
    with Origin(respond("one")) as one, Origin(respond("two")) as two, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        free = free_port()
        served = serve(config(port, one))
        line = served.reload(config([port, free, other.getsockname()[1]], two))
        assert "nothing is changed" in line
        assert "listen[2]" in served.program.output
        assert "in use by another program" in served.program.output
        assert {get(port).body for _ in range(4)} == {b"one"}
        assert not accepts(("127.0.0.1", free))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_workers_refuse_runs_nowhere(serve, port: int, workers: int, tmp_path: Path) -> None:
    """A log file in a directory that is not there is found out by who opens it."""
    extra = free_port()
    with Origin(respond("one")) as one, Origin(respond("two")) as two:
        served = serve(config(port, one, workers=workers))
        line = served.reload(config([port, extra], two, workers=workers, log=f"{tmp_path}/none/access.log"))
        assert "run the one before" in line
        assert "No such file" in served.program.output
        assert {get(port).body for _ in range(4)} == {b"one"}
        wait_until(lambda: not accepts(("127.0.0.1", extra)), what="the end of the new listener")
        assert generation(served.reload(config([port, extra], two, workers=workers))) > 2
        assert {get(extra).body for _ in range(4)} == {b"two"}


def test_the_log_goes_where_the_file_says_now(serve, port: int, tmp_path: Path) -> None:
    before, after = tmp_path / "before.log", tmp_path / "after.log"
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, log=str(before)))
        get(port, "/1")
        served.reload(config(port, origin, log=str(after)))
        get(port, "/2")
        wait_until(lambda: after.exists() and "/2" in after.read_text(), what="the line in the new file")
        assert "/1" in before.read_text()
        assert "/2" not in before.read_text()


def test_health_is_kept(serve, port: int) -> None:
    check = "health_check = { path = '/h', interval = '100ms', fall = 1, rise = 2 }"
    with Origin(by_path({"/h": respond("", 503)}, respond("sick"))) as sick, Origin(respond("well")) as well:
        served = serve(config(port, sick, well, backend=check))
        served.program.wait_line(f"server app/{sick.name} is DOWN")
        for retries in (0, 1, 0):
            served.reload(config(port, sick, well, backend=f"{check}\nretries = {retries}"))
            assert {get(port).body for _ in range(6)} == {b"well"}


def test_tunnels_of_what_stays_stay_open(serve, port: int) -> None:
    upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

    async def echo(exchange) -> None:
        await exchange.send(upgrade.encode())
        while data := await exchange.receive():
            await exchange.send(data)

    with Origin(echo) as origin, Origin(respond("x")) as other:
        served = serve(config(port, origin))
        with RawClient(("127.0.0.1", port)) as client:
            client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            assert client.response(to_the_end=False).status == 101
            for n in range(5):
                served.reload(config(port, origin, *([other] if n % 2 else []), backend=f"retries = {n % 3}"))
                client.send(f"hello {n}")
                assert client.read_exactly(7) == f"hello {n}".encode()
            served.reload(config(port, other))  # even where the server has left: it ends as it began
            client.send("goodbye")
            assert client.read_exactly(7) == b"goodbye"


def test_names_that_fail_now_keep_their_address(serve, port: int) -> None:
    with Origin(respond("x")) as origin:
        name = f"localhost:{origin.address[1]}"
        served = serve(config(port, name, workers=1))
        assert get(port).body == b"x"
        assert origin.connections == 1
        served.reload(config(port, name, workers=1, backend="retries = 0"))
        assert get(port).body == b"x"
        assert origin.connections == 1  # not moved because the resolver was asked again


def test_what_takes_effect_later_is_said(serve, port: int) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, workers=1))
        served.reload(config(port, origin, workers=1, global_="max_connections = 77"))
        assert re.search(
            r"warning: .*global\.max_connections = 77: takes effect at the next start", served.program.output
        )


def test_a_file_from_standard_input_cannot_be_read_again(start, port: int) -> None:
    from tests.helpers import FASTLB, ROOT

    program = start([*FASTLB, "serve", "--listen", f"127.0.0.1:{port}", "--to", "127.0.0.1:9"], cwd=ROOT)
    program.wait_line("fastlb ready", 20)
    import signal

    program.send(signal.SIGHUP)
    program.wait_line("no configuration file")


def test_hup_in_a_row(serve, port: int) -> None:
    """Signals that come while one reload runs are not lost, and none runs beside another."""
    import signal

    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, workers=2))
        for _ in range(5):
            served.program.send(signal.SIGHUP)
            time.sleep(0.01)
        served.program.wait_line("configuration [2-9] runs")
        assert get(port).body == b"x"
        with pytest.raises(ConnectionEnded), RawClient(("127.0.0.1", port)) as client:
            client.send("nonsense\r\n\r\n")
            client.response()
            client.response()
