"""Workers and the admin interface follow a reload."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.request
from pathlib import Path

from fastlb.testing import Delay, Origin, RawClient, respond
from tests.helpers import accepts, free_port, wait_until

from .conftest import config, generation, get
from .load import Load


def test_workers_join_and_leave_without_a_lost_request(serve, port: int) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, workers=1))
        (first,) = served.workers
        with Load(port, kept=4, new=4) as load:
            for count in (3, 1, 2):
                served.reload(config(port, origin, workers=count))
                wait_until(lambda count=count: len(served.workers) == count, 20, f"{count} workers")
                done = load.seen.requests
                wait_until(lambda done=done: load.seen.requests > done + 50, 20, "further requests")
                assert first in served.workers
        assert not load.seen.failures


def test_new_workers_take_their_part_and_old_ones_finish(serve, port: int) -> None:
    with Origin([Delay(1.0), *respond("slow")]) as slow:
        served = serve(config(port, slow, workers=4))
        clients = [RawClient(("127.0.0.1", port), timeout=20) for _ in range(16)]
        try:
            for client in clients:
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            slow.wait_requests(16)
            served.reload(config(port, slow, workers=1))
            for client in clients:  # whoever has it
                assert client.response().body == b"slow"
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: len(served.workers) == 1, 20, "the end of the others")


def test_queues_of_workers_that_leave_are_served(serve, port: int) -> None:
    """A stopped worker's queue fills; when it is retired its socket is others' already."""
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, workers=2))
        os.kill(served.workers[1], signal.SIGSTOP)
        clients = [RawClient(("127.0.0.1", port), timeout=30) for _ in range(20)]
        try:
            for client in clients:
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            os.kill(served.workers[1], signal.SIGCONT)
            served.reload(config(port, origin, workers=1))
            for client in clients:
                assert client.response().status == 200
        finally:
            for client in clients:
                client.close()


def test_more_workers_than_there_are_places(serve, port: int) -> None:
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, workers=1))
        assert "nothing is changed" in served.reload(config(port, origin, workers=200))
        assert re.search(r"global\.workers = 200: at most \d+ until the next start", served.program.output)
        assert len(served.workers) == 1
        served.reload(config(port, origin, workers=0))
        assert "global.workers = 0: takes effect at the next start" in served.program.output
        assert get(port).body == b"x"


def test_a_reload_that_is_not_confirmed_brings_its_workers_back(serve, port: int, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    admin = f"[admin]\nsocket = '{path}'"
    with Origin(respond("x")) as origin:
        served = serve(config(port, origin, workers=2, more=admin))
        before = set(served.workers)
        served.write(config(port, origin, workers=1, more=admin))
        answer = ask(path, "POST", "/v1/reload", {"confirm": 0.3})
        assert answer["confirm_within"] == 0.3
        served.program.wait_line("the reload was not confirmed", 20)
        assert set(served.workers) == before
        assert get(port).status == 200


def ask(path: Path, method: str, target: str, data: object = None) -> dict:
    body = b"" if data is None else json.dumps(data).encode()
    with RawClient(str(path), timeout=20) as client:
        fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        client.send(f"{method} {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode() + body)
        return json.loads(client.response().body)


def fetch(port: int, token: str = "") -> int:
    """Status of a change over TCP."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/reload", b"{}", method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_admin_interface_follows(serve, port: int, tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    path = tmp_path / "admin.sock"
    first, second = "a" * 20, "b" * 20
    with Origin(respond("x")) as origin, socket.socket() as taken:

        def text(table: str) -> str:
            return config(port, origin, workers=1, more=f"[admin]\n{table}" if table else "")

        served = serve(text(""))
        served.reload(text(f"listen = '127.0.0.1:{one}'\ntoken = '{first}'"))
        assert (fetch(one, second), fetch(one, first)) == (401, 200)
        served.reload(text(f"listen = '127.0.0.1:{one}'\ntoken = '{second}'"))
        assert (fetch(one, first), fetch(one, second)) == (401, 200)

        # an address that cannot be had changes nothing
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        table = f"listen = '127.0.0.1:{two}'\nsocket = '{path}'\n"
        assert "nothing is changed" in served.reload(text(f"listen = '127.0.0.1:{taken.getsockname()[1]}'"))
        assert (fetch(one, first), fetch(one, second)) == (401, 422)  # the second may ask for it, in vain

        # the one that is asked for the reload goes with it, and still answers
        served.write(text(table))
        assert fetch(one, second) == 200
        wait_until(lambda: not accepts(("127.0.0.1", one)), what="the end of the old address")
        assert fetch(two, second) == 403
        assert ask(path, "GET", "/v1/openapi.json")["openapi"]
        assert generation(served.reload(text(""))) > 4
        wait_until(lambda: not accepts(("127.0.0.1", two)) and not path.exists(), what="the end of the interface")
        assert get(port).body == b"x"
