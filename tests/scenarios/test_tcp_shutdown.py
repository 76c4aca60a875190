"""`shutdown_sessions`: what is under way at a server that is lost ends at once, and does not hang."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.conftest import Api
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.wire import Origin, Wire
from tests.helpers import FASTLB, ROOT, free_port, wait_until

from .greeter import Greeter, echoed, greeted

TCP = {"mode": "tcp"}
CHECK = {"type": "tcp", "interval": "100ms", "fall": 2, "rise": 1}


@pytest.fixture
def greeter() -> Iterator[Greeter]:
    one = Greeter("s0")
    yield one
    one.stop()


def flags(lb: Balancer, client: Wire) -> str:
    """The termination flags of a client's session; awaited."""
    port = client.sock.getsockname()[1]
    return lb.program.wait_line(rf"127\.0\.0\.1:{port} \[.* (\S\S) \d+/\d+/\d+/\d+/\S+ \d+/\d+$")[1]


def test_sessions_of_a_server_that_goes_down_end(balancer: Balancers, greeter: Greeter, tmp_path: Path) -> None:
    """The health check is what notices: a machine that hangs closes nothing."""
    backend = {**TCP, "servers": [{"name": "s0", "address": greeter.address}], "health_check": CHECK}
    lb = balancer(
        frontends={
            "web": {**TCP, "backend": "app"},
            "other": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "other"},
        },
        backends={"app": backend | {"shutdown_sessions": True}, "other": backend},
        admin={"socket": f"{tmp_path}/s"},
        global_={"workers": 2},
    )
    ended, kept = [lb.dial() for _ in range(4)], lb.dial("other")
    assert {greeted(client) for client in (*ended, kept)} == {"s0"}
    greeter.leave()
    assert {client.ended() for client in ended} == {"reset"}
    assert {flags(lb, client) for client in ended} == {"DD"}
    wait_until(lambda: "server other/s0 is DOWN" in lb.program.output, what="the other backend to notice")
    assert echoed(kept)
    events = Api(f"{tmp_path}/s").get("/v1/events")["events"]
    assert any(e["subject"] == "app/s0" and e["text"] == "4 sessions ended: it is down" for e in events), events


def test_maintenance_ends_them_too_and_draining_does_not(balancer: Balancers, greeter: Greeter, tmp_path: Path) -> None:
    lb = balancer(
        greeter.address,
        frontend=TCP,
        backend={**TCP, "shutdown_sessions": True},
        admin={"socket": f"{tmp_path}/s"},
    )
    api = Api(f"{tmp_path}/s")
    client = lb.dial()
    greeted(client)
    assert api.patch("app/s0", state="drain").status == 200
    assert echoed(client)
    assert api.patch("app/s0", state="maint").status == 200
    assert client.ended() == "reset"


def test_the_operator_ends_the_sessions_of_a_server(balancer: Balancers, tmp_path: Path) -> None:
    """Over both modes: sessions are reset, a request is tried elsewhere, an answer that has begun is broken off."""
    one, two = Origin(), Origin()
    servers = [{"name": "s0", "address": one.address}, {"name": "s1", "address": two.address}]
    lb = balancer(
        frontends={
            "web": {"backend": "app"},
            "tcp": {**TCP, "listen": f"127.0.0.1:{free_port()}", "backend": "tcp"},
        },
        backends={
            "app": {"balance": "first", "servers": servers},
            "tcp": {**TCP, "balance": "first", "servers": servers},
        },
        admin={"socket": f"{tmp_path}/s"},
        global_={"workers": 2},
    )

    def shutdown(server: str) -> str:
        command = [*FASTLB, "ctl", "--socket", f"{tmp_path}/s", "server", "shutdown", server, "--reason", "stuck"]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout

    session = lb.dial("tcp").send("hello")
    wire = one.accept()
    assert wire.exactly(5) == b"hello"
    assert "server tcp/s0: 1 session ended: stuck" in shutdown("tcp/s0")
    assert (session.ended(), wire.ended()) == ("reset", "reset")
    assert flags(lb, session) == "KD"

    waiting = lb.dial().get("/waiting")
    first, _ = one.request()
    begun = lb.dial().get("/begun")
    second, _ = one.request()
    second.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin")
    assert begun.until(b"begin").endswith(b"begin")
    posted = lb.dial().post("/posted", b"x")
    third, _ = one.request()
    assert "server app/s0: 3 sessions ended" in shutdown("app/s0")
    again, request = two.request()
    assert request.target == "/waiting"
    again.answer("from another one")
    assert waiting.response().text == "from another one"
    assert begun.ended() == "reset"
    assert posted.response().status == 502
    assert (lb.logged("/begun").term, lb.logged("/posted").term) == ("KD--", "KH--")
    assert {end.ended() for end in (first, second, third)} == {"reset"}
    assert lb.dial("tcp").send("new") and one.accept().exactly(3) == b"new"  # it stays in service
