"""Affinity: clients stay at the server that has their session."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastlb.config import check_text
from tests.admin.conftest import Api
from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.toml import dump
from tests.e2e.wire import Message, Origin, Wire, dial
from tests.helpers import ROOT


def cookie(answer: Message) -> str:
    """The pair that a client sends back."""
    return (answer.get("set-cookie") or "").partition(";")[0]


def ask(client: Wire, target: str = "/", *lines: str) -> Message:
    return client.get(target, *lines).response()


@pytest.fixture(scope="module")
def sticky(shared_balancer: Balancers, named: list[Answering], tmp_path_factory: pytest.TempPathFactory) -> Balancer:
    """Two workers, three servers, a cookie; and an admin socket to drain servers with."""
    socket = tmp_path_factory.mktemp("admin") / "s"
    return shared_balancer(
        *(s.address for s in named),
        backend={"balance": "round_robin", "affinity": {"type": "cookie", "name": "LB"}},
        admin={"socket": str(socket)},
        global_={"workers": 2},
    )


def admin(lb: Balancer) -> Api:
    """The admin interface on its socket."""
    text = Path(lb.program.argv[-1]).read_text()
    return Api(re.search(r'"socket" = "([^"]+)"', text)[1])  # type: ignore[index]


def reload(lb: Balancer) -> None:
    """Changes something else in the configuration and has it take effect."""
    file = Path(lb.program.argv[-1])
    file.write_text(file.read_text().replace('"httplog"', '"httplog", "level" = "debug"', 1))
    assert admin(lb).ask("/v1/reload", "POST").status == 200


def test_a_client_with_its_cookie_stays_at_its_server(sticky: Balancer) -> None:
    for _ in range(3):
        with sticky.dial() as first:
            given = ask(first)
        assert re.fullmatch(r"LB=[\w-]{24}; Path=/; HttpOnly; SameSite=Lax", given.get("set-cookie") or "")
        assert given.get("cache-control") == "private"
        for _ in range(4):  # on connections of its own, so perhaps by another worker
            with sticky.dial() as client:
                again = ask(client, "/", f"Cookie: a=b; {cookie(given)}; c=d")
            assert (again.text, again.get("set-cookie")) == (given.text, None)


def test_without_its_cookie_it_is_a_new_client_and_the_log_says_which(sticky: Balancer) -> None:
    with sticky.dial() as client:
        given = ask(client, "/first")
        ask(client, "/valid", f"Cookie: {cookie(given)}")
        forged = ask(client, "/forged", "Cookie: LB=" + "A" * 24)
    assert cookie(forged)
    terms = {mark: sticky.logged(mark).term for mark in ("/first", "/valid", "/forged")}
    assert terms == {"/first": "--NI", "/valid": "--VN", "/forged": "--II"}


def test_a_draining_server_keeps_its_clients_and_one_in_maintenance_does_not(sticky: Balancer) -> None:
    api = admin(sticky)
    with sticky.dial() as client:
        given = ask(client)
        where = f"app/{given.text}"
        assert api.patch(where, state="drain").status == 200
        assert {ask(client, "/", f"Cookie: {cookie(given)}").text for _ in range(3)} == {given.text}
        assert given.text not in {ask(client).text for _ in range(6)}
        assert api.patch(where, state="maint").status == 200
        moved = ask(client, "/moved", f"Cookie: {cookie(given)}")
        assert moved.text != given.text
        assert cookie(moved) not in ("", cookie(given))
        assert sticky.logged("/moved").term == "--DI"
        assert ask(client, "/", f"Cookie: {cookie(moved)}").text == moved.text
        assert api.patch(where, state="ready").status == 200


def test_a_reload_keeps_cookies_valid(sticky: Balancer) -> None:
    with sticky.dial() as client:
        given = ask(client)
    reload(sticky)
    with sticky.dial() as client:
        assert ask(client, "/", f"Cookie: {cookie(given)}").text == given.text


def test_the_servers_own_cookie_of_that_name_does_not_pass(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, backend={"affinity": {"name": "LB", "private": False}})
    client = lb.dial().get("/")
    server, _ = origin.request()
    server.answer("x", "Set-Cookie: LB=mine; Path=/", "Set-Cookie: app=1", "set-cookie:  LB=mine too")
    answer = client.response()
    assert answer.all("set-cookie")[0] == "app=1"
    assert len(answer.all("set-cookie")) == 2
    assert "mine" not in str(answer.fields)


def test_a_kept_alive_connection_that_was_closed_loses_no_session(balancer: Balancers) -> None:
    """The server that has the session gets the request on a new connection, although another one is there."""
    home, other = Origin(), Origin()
    lb = balancer(home, other, backend={"balance": "first", "affinity": "cookie"})
    client = lb.dial().get("/")
    server, _ = home.request()
    server.answer("session")
    given = client.response()
    client.get("/again", f"Cookie: {cookie(given)}")
    server.request()
    server.close()  # as a server does that has just decided to close the idle connection
    again, request = home.request()
    assert request.target == "/again"
    again.answer("still here")
    assert client.response().text == "still here"
    assert other.untouched()


@pytest.mark.parametrize(("setting", "expected"), [("rebalance", 200), ("fail", 503)])
def test_what_happens_when_the_server_is_gone_is_a_setting(
    balancer: Balancers, named: list[Answering], setting: str, expected: int
) -> None:
    with Answering() as leaving:
        lb = balancer(
            leaving.address,
            named[0].address,
            backend={"balance": "first", "affinity": {"on_unavailable": setting}, "outlier": False},
        )
        client = lb.dial()
        given = ask(client)
    answer = ask(client, "/gone", f"Cookie: {cookie(given)}")
    assert answer.status == expected
    assert (answer.text == "s0") == (setting == "rebalance")


def test_a_full_server_is_not_waited_for_when_it_must_be_that_one(balancer: Balancers) -> None:
    one = Origin()
    lb = balancer(one, backend={"max_connections": 1, "affinity": {"on_unavailable": "fail"}})
    first = lb.dial().get("/")
    server, _ = one.request()
    server.answer("x")
    given = first.response()
    busy = lb.dial().get("/busy")
    server.request()
    refused = ask(lb.dial(), "/", f"Cookie: {cookie(given)}")
    assert refused.status == 503
    server.answer("x")
    assert busy.response().status == 200


@pytest.fixture(scope="module")
def wiki() -> Iterator[list[Answering]]:
    """Servers that begin a session of their own, whose name is random to everybody else."""

    def answer(request: Message, name: bytes) -> bytes:
        begin = b"" if request.all("cookie") else b"Set-Cookie: SID=session-at-%s; Path=/\r\n" % name
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + begin + b"\r\n" + name

    servers = [Answering(lambda r, name=b"w%d" % i: answer(r, name)) for i in range(2)]  # type: ignore[misc]
    yield servers
    for server in servers:
        server.stop()


def test_an_applications_cookie_is_followed(balancer: Balancers, wiki: list[Answering], tmp_path: Path) -> None:
    socket = tmp_path / "s"
    lb = balancer(
        *(s.address for s in wiki),
        backend={"balance": "round_robin", "affinity": {"type": "learn", "name": "SID"}},
        global_={"workers": 2},
        admin={"socket": str(socket)},
    )
    sessions = []
    for _ in range(2):
        with lb.dial() as client:
            sessions.append(cookie(ask(client, "/login")))
    for session in sessions * 3:
        with lb.dial() as client:
            assert ask(client, "/", f"Cookie: {session}").text == session[-2:]
    assert lb.logged("/login").term == "--NP"
    table = Api(str(socket)).get("/v1/tables?backend=app")["tables"][0]
    held = sorted((e["key"], e["server"]) for e in table["entries"])
    assert held == sorted((s.removeprefix("SID="), s[-2:].replace("w", "s")) for s in set(sessions))
    assert (table["key"], table["used"]) == ("cookie:SID", len(held))


def test_a_network_stays_at_its_server_through_a_reload(
    balancer: Balancers, named: list[Answering], tmp_path: Path
) -> None:
    affinity = {"type": "table", "key": "ip", "ipv4_prefix": 24, "size": 100}
    lb = balancer(
        *(s.address for s in named),
        backend={"balance": "round_robin", "affinity": affinity},
        global_={"workers": 2},
        admin={"socket": str(tmp_path / "s")},
    )

    def server_of(source: str) -> str:
        with dial(lb.address, source=source) as client:
            return ask(client).text

    homes = {net: server_of(f"127.0.{net}.1") for net in range(4)}
    assert len(set(homes.values())) == 3
    assert {net: server_of(f"127.0.{net}.99") for net in range(4)} == homes
    reload(lb)
    assert {net: server_of(f"127.0.{net}.7") for net in range(4)} == homes


def test_the_page_shows_what_loads() -> None:
    page = (ROOT / "docs" / "affinity.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        report = check_text(block)
        assert (report.errors, report.warnings) == ((), ()), block


def test_what_makes_no_sense_is_refused() -> None:
    def errors(**affinity: object) -> str:
        text = dump({
            "frontends": {"web": {"listen": ":1", "backend": "app"}},
            "backends": {"app": {"servers": ["10.0.0.1:1"], "affinity": affinity}},
        })  # fmt: skip
        return "\n".join(map(str, check_text(text).errors))

    assert "needs the name of the application's cookie" in errors(type="learn")
    assert 'is only for type = "cookie"' in errors(type="table", secrets=["0123456789abcdef"])
    assert "at least 16 characters" in errors(secrets=["short"])
    assert "not set" in errors(secrets=["env:FASTLB_NO_SUCH_VARIABLE"])
    assert "SameSite=None" in errors(same_site="None", secure="never")
    assert 'did you mean "cookie"' in errors(type="cokie")
