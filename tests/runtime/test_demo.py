"""`fastlb serve --demo` and its origin servers."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlb.runtime.demo import Origins, demo_spec, free_port
from fastlb.spec import Address
from fastlb.testing import RawClient
from tests.helpers import FASTLB, ROOT, Program, accepts, wait_until


def place(address: Address) -> tuple[str, int]:
    return address.host, address.port


def test_origins_say_who_they_are_and_end_with_the_block() -> None:
    with Origins() as origins:
        places = [place(a) for a in origins.addresses]
        assert len(places) == 3
        names = []
        for where in places:
            with RawClient(where) as client:
                response = client.get("/")
                names.append(response.header("x-origin"))
                assert response.body == f"Hello from {names[-1]}, request 1 here\n".encode()
                assert client.get("/", [("Accept", "text/html")]).body.startswith(b"<!doctype html>")
                facts = json.loads(client.get("/json", [("X-Forwarded-For", "1.2.3.4")]).body)
                assert (facts["origin"], facts["client"]) == (names[-1], "1.2.3.4")
                assert client.request("HEAD", "/").body == b""
        assert names == ["origin-1", "origin-2", "origin-3"]
    assert not any(accepts(where) for where in places)


def test_origin_health_can_be_switched() -> None:
    with Origins() as origins, RawClient(place(origins.addresses[0])) as client:
        assert client.get("/health").status == 200
        assert client.request("POST", "/down").body == b"origin-1 is down from now on\n"
        assert client.get("/health").status == 503
        assert client.request("POST", "/up").status == 200
        assert client.get("/health").status == 200


def test_pipelined_and_malformed_requests_of_an_origin() -> None:
    with Origins() as origins:
        where = place(origins.addresses[0])
        with RawClient(where) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
            assert [client.response().body[-7:] for _ in range(3)] == [b"1 here\n", b"2 here\n", b"3 here\n"]
            client.send(b"\x00garbage\r\n\r\n")
            assert client.at_end()
        with RawClient(where) as client:
            assert client.get("/").status == 200


def test_the_next_free_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_spec_of_the_demonstration() -> None:
    spec = demo_spec([Address("127.0.0.1", 9001), Address("127.0.0.1", 9002)], workers=3)
    assert [s.name for s in spec.backends[0].servers] == ["origin-1", "origin-2"]
    assert spec.backends[0].health_check is not None
    assert spec.frontends[0].listen[0].address.port >= 8080
    assert spec.global_.workers == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_the_hints_of_the_demonstration_work(start: Callable[..., Program], workers: int) -> None:
    program = start([*FASTLB, "serve", "--demo", "--listen", "127.0.0.1:0", "--workers", str(workers)], cwd=ROOT)
    program.wait_line("fastlb ready", 20)
    port = int(program.wait_line(r"curl http://127\.0\.0\.1:(\d+)/ ")[1])
    down, up = (re.search(rf"curl -X POST (\S+)/{word} ", program.output) for word in ("down", "up"))
    assert down
    assert up
    origin = ("127.0.0.1", int(down[1].rpartition(":")[2]))
    with RawClient(("127.0.0.1", port)) as client, RawClient(origin) as direct:
        seen = {client.get("/").header("x-origin") for _ in range(6)}
        assert seen == {"origin-1", "origin-2", "origin-3"}
        assert json.loads(client.get("/json").body)["client"] == "127.0.0.1"

        assert direct.request("POST", "/down").status == 200
        program.wait_line(r"server origins/origin-1 is DOWN: L7STS \(status 503\)", 20)
        wait_until(
            lambda: "origin-1" not in {client.get("/").header("x-origin") for _ in range(6)}, 10, "two origins only"
        )
        assert direct.request("POST", "/up").status == 200
        program.wait_line("server origins/origin-1 is UP", 20)
        wait_until(lambda: client.get("/").header("x-origin") == "origin-1", 10, "an answer of origin-1")
    children = {int(p) for p in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()}
    assert len(children) == workers + 1
    program.send(signal.SIGINT)
    assert program.wait() == 0
    wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in children), 10, "the end of all processes")


PARENT = """
import signal
from fastlb.runtime.demo import Origins

with Origins() as origins:
    print(origins.addresses[0].port, flush=True)
    signal.pause()
"""


def test_origins_end_when_their_parent_is_killed(start: Callable[..., Program]) -> None:
    program = start([sys.executable, "-c", PARENT], cwd=ROOT)
    where = ("127.0.0.1", int(program.wait_line(r"^(\d+)$")[1]))
    assert accepts(where)
    program.send(signal.SIGKILL)
    wait_until(lambda: not accepts(where), 10, "the end of the origins")
