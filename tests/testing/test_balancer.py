"""`fastlb.testing.Balancer`, and through it `fastlb.LoadBalancer`: the real engine inside this process."""

from __future__ import annotations

import asyncio
import threading

import pytest
import uvloop

import fastlb
from fastlb.control.sockets import ListenError
from fastlb.testing import Balancer, FaultyProxy, Origin, RawClient, Reset, WaitFor, in_turn, respond

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@LOOPS
def test_requests_reach_every_origin(loop) -> None:
    with Origin(respond("a")) as a, Origin(respond("b")) as b:
        with (
            Balancer.to(a, b, backend={"balance": "round_robin"}, loop=loop) as balancer,
            RawClient(balancer.address) as client,
        ):
            assert sorted(client.get("/").body for _ in range(10)) == [b"a"] * 5 + [b"b"] * 5
            assert balancer.url == f"http://127.0.0.1:{balancer.address[1]}"
        a.wait_closed()
        b.wait_closed()


@LOOPS
def test_leaving_waits_for_what_is_in_flight(loop) -> None:
    go = threading.Event()
    answers = []
    with Origin([WaitFor(go), *respond("late")]) as origin:
        with Balancer.to(origin, loop=loop) as balancer, RawClient(balancer.address) as client:
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            origin.wait_requests(1)
            threading.Timer(0.1, go.set).start()
            reader = threading.Thread(target=lambda: answers.append(client.response()))
            reader.start()
            balancer.__exit__(None, None, None)
            reader.join(10)
        assert answers[0].body == b"late"
        assert answers[0].header("connection") == "close"


def test_a_failed_connection_is_tried_on_another_server() -> None:
    with Origin() as good, Origin(on_connect=[Reset()]) as bad, FaultyProxy(good.address) as proxy:
        proxy.refusing = True
        with Balancer.to(proxy, bad, good) as balancer, RawClient(balancer.address) as client:
            assert [client.get("/").status for _ in range(12)] == [200] * 12


def test_in_turn_over_a_balancer() -> None:
    with (
        Origin(in_turn(respond("1"), respond("2", 404))) as origin,
        Balancer.to(origin) as balancer,
        RawClient(balancer.address) as client,
    ):
        assert [client.get("/").status for _ in range(2)] == [200, 404]


CONFIG = """
[log]
access = "off"
[frontends.web]
listen = ["127.0.0.1:0"]
backend = "app"
[backends.app]
servers = ["{}"]
"""


def forms(text: str, file) -> dict[str, object]:
    import tomllib

    file.write_text(text)
    return {
        "text": text,
        "path": file,
        "name": str(file),
        "mapping": tomllib.loads(text),
        "spec": fastlb.parse(text),
    }


@pytest.mark.parametrize("form", ["text", "path", "name", "mapping", "spec"])
def test_every_form_of_configuration(form: str, tmp_path) -> None:
    with Origin() as origin:
        config = forms(CONFIG.format(origin.name), tmp_path / "lb.toml")[form]
        with Balancer(config) as balancer, RawClient(balancer.address) as client:
            assert client.get("/").body == b"ok"


def test_a_wrong_configuration_raises_at_once() -> None:
    with pytest.raises(fastlb.ConfigError, match="backends"):
        fastlb.LoadBalancer({"frontends": {"web": {"listen": [":0"], "backend": "nowhere"}}})


def test_addresses_need_a_start() -> None:
    balancer = fastlb.LoadBalancer(CONFIG.format("127.0.0.1:9"))
    with pytest.raises(RuntimeError, match="async with"):
        balancer.addresses  # noqa: B018


@LOOPS
def test_twice_one_after_the_other_in_one_loop(loop) -> None:
    async def main() -> list[bytes]:
        answers = []
        with Origin() as origin:
            balancer = fastlb.LoadBalancer(CONFIG.format(origin.name))
            for _ in range(2):
                async with balancer as lb:
                    with pytest.raises(RuntimeError, match="already started"):
                        await lb.__aenter__()
                    reader, writer = await asyncio.open_connection(*lb.addresses["web"][0])
                    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    answers.append((await reader.read())[-2:])
                    writer.close()
                    await writer.wait_closed()
        return answers

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(main()) == [b"ok", b"ok"]


def test_an_address_in_use_leaves_nothing_behind() -> None:
    with Origin() as origin:
        config = {
            "frontends": {"web": {"listen": ["127.0.0.1:0", origin.name], "backend": "app"}},
            "backends": {"app": {"servers": [origin.name]}},
        }

        async def main() -> None:
            balancer = fastlb.LoadBalancer(config)
            for _ in range(2):
                with pytest.raises(ListenError, match="in use"):
                    async with balancer:
                        pass

        asyncio.run(main())
