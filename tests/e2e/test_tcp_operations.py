"""Sessions that live while the balancer is operated: servers that leave, reload, stop; and where they are shown."""

from __future__ import annotations

import csv
import signal
import socket
from pathlib import Path

from tests.admin.conftest import Api
from tests.helpers import wait_until

from .balancer import Balancer, Balancers
from .test_tcp import tcp
from .wire import Origin, Wire


def session(lb: Balancer, origin: Origin) -> tuple[Wire, Wire]:
    """Both ends of a new session, which the balancer has given to `origin`."""
    client = lb.dial().send("new")
    wire = origin.accept()
    assert wire.exactly(3) == b"new"
    return client, wire


def lives(client: Wire, wire: Wire) -> bool:
    client.send("ping")
    assert wire.exactly(4) == b"ping"
    wire.send("pong")
    return client.exactly(4) == b"pong"


def current(api: Api) -> dict[str, int]:
    """Sessions at this moment by server, as HAProxy's CSV has them."""
    rows = csv.DictReader(api.text("/stats;csv").removeprefix("# ").splitlines())
    return {row["svname"]: int(row["scur"]) for row in rows if row["pxname"] == "app"}


def test_servers_that_leave_keep_their_sessions(balancer: Balancers, tmp_path: Path) -> None:
    one, two = Origin(), Origin()
    lb = tcp(balancer, one, two, backend={"balance": "first"}, admin={"socket": f"{tmp_path}/admin"})
    api = Api(f"{tmp_path}/admin")
    first = session(lb, one)
    for state in ("maint", "drain"):
        assert api.patch("app/s0", state=state).status == 200
        assert lives(*first)
        other = session(lb, two)
        wait_until(lambda: current(api) == {"s0": 1, "s1": 1, "BACKEND": 2}, what="both sessions in the CSV")
        for end in other:
            end.close()
        wait_until(lambda: current(api)["s1"] == 0, what="the end of the second session")
    assert api.patch("app/s0", state="ready").status == 200
    back = session(lb, one)
    assert lives(*first)
    assert lives(*back)
    metrics = api.text("/metrics")
    assert any('proxy="app"' in row and row.rstrip().endswith(" 2") for row in metrics.splitlines()), metrics[:3000]


def test_a_reload_without_the_server_leaves_its_sessions(balancer: Balancers, tmp_path: Path) -> None:
    one, two = Origin(), Origin()
    lb = tcp(balancer, one, two, backend={"balance": "first"}, admin={"socket": f"{tmp_path}/admin"})
    api = Api(f"{tmp_path}/admin")
    first = session(lb, one)
    file = Path(lb.program.argv[-1])
    text = file.read_text()
    file.write_text(text.replace(one.address, "127.0.0.1:1"))
    assert file.read_text() != text
    assert api.ask("/v1/reload", "POST", {}).status == 200
    assert lives(*first)
    client = lb.dial().send("new")  # the first server refuses: another one gets it
    assert two.accept().exactly(3) == b"new"
    client.close()
    first[0].finish()
    assert first[1].rest() == b""
    first[1].close()
    assert first[0].ended() == "fin"


def test_a_stop_waits_for_sessions(balancer: Balancers) -> None:
    origin = Origin()
    lb = tcp(balancer, origin, timeouts={"drain": "20s"})
    client, wire = session(lb, origin)
    lb.program.send(signal.SIGTERM)
    wait_until(lambda: not _accepts(lb), what="the end of accepting")
    assert lives(client, wire)
    client.finish()
    assert wire.rest() == b""
    wire.close()
    assert client.ended() == "fin"
    assert lb.program.wait() == 0


def test_a_stop_cuts_off_what_takes_too_long(balancer: Balancers) -> None:
    origin = Origin()
    lb = tcp(balancer, origin, timeouts={"drain": "300ms"})
    client, wire = session(lb, origin)
    lb.program.send(signal.SIGTERM)
    assert client.ended() in ("fin", "reset")
    assert wire.ended() in ("fin", "reset")
    assert lb.program.wait() == 0


def _accepts(lb: Balancer) -> bool:
    with socket.socket() as sock:
        try:
            sock.connect(lb.address)
        except OSError:
            return False
        Wire(sock).reset()
    return True


def test_a_server_that_is_near_has_an_estimate_too(balancer: Balancers, tmp_path: Path) -> None:
    """Connected to within the turn in which it was picked: least_time learns of that one as of any other."""
    origin = Origin()
    lb = tcp(balancer, origin, backend={"balance": "least_time"}, admin={"socket": f"{tmp_path}/admin"})
    for end in session(lb, origin):
        end.close()
    asked = {"url": f"tcp://127.0.0.1:{lb.ports['web']}"}

    def estimate() -> float | None:
        told = Api(f"{tmp_path}/admin").ask("/v1/explain", "POST", asked).json
        return told["balance"]["servers"][0]["latency"]

    assert wait_until(lambda: estimate() is not None, what="an estimate")
