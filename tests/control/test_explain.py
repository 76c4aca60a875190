"""What an explanation says, and that the engine then does just that."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fastlb.config import parse
from fastlb.control.explain import Explanation, explain, explain_offline
from fastlb.control.question import Question, QuestionError, find_frontend
from fastlb.control.region import DRAIN, EJECTED, MAINT, UP
from tests.control.engines import Running, one_backend, origin, running

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asked(engine: Running, question: Question) -> Explanation:
    return explain(engine.spec, engine.assignment, engine.region, question, live=True)


async def answered(engine: Running, question: Question) -> dict[str, str]:
    """What the engine says of the same request."""
    head = question.head()[:-2] + b"Connection: close\r\n\r\n"
    got = await engine.send(head)
    found = re.search(rb"(?m)^X-Fastlb-Explain: (.*)\r$", got)
    assert found, got
    told = {key: value.strip('"') for key, value in re.findall(r'(\w+)=("[^"]*"|[\d.]+)', found[1].decode())}
    return told | {"status": got.split()[1].decode()}


ROUTES: list[dict[str, Any]] = [
    {"host": "a.example", "path": "/x/*", "backend": "app"},
    {"host": "*.example", "methods": ["POST"], "backend": "app"},
    {"name": "beta", "headers": {"X-Beta": "1*"}, "query": {"v": "2"}, "backend": "app"},
    {"path": ["/old", "/older/*"], "redirect": {"location": "/new", "status": 308}},
    {"path": "/*.png", "respond": {"status": 410, "body": "gone"}},
    {"source": "10.0.0.0/8", "backend": "app"},
    {"name": "two", "path": "/x/*", "headers": {"Cookie": "*"}, "backend": "app"},
]
REQUESTS = [
    Question(method, url, fields)
    for method in ("GET", "POST", "DELETE")
    for url in (
        "http://a.example/x/1", "http://b.example/x/1?v=2", "/older/1", "/old?v=2", "/i.png", "/x/", "/", "/x/../y",
        "/%2e%2e/x", "http://a.example:99/",
    )
    for fields in ((), (("X-Beta", "17"),), (("Cookie", "a=b"), ("X-Beta", "0")), (("Bad Name", "1"),))
]  # fmt: skip


def test_routes_are_those_that_the_engine_takes() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(origin(OK))
            mapping = one_backend(server, explain=["127.0.0.1"], routes=ROUTES)
            engine = await stack.enter_async_context(running(mapping))
            outcomes = set()
            for question in REQUESTS:
                said, done = asked(engine, question), await answered(engine, question)
                outcomes.add((said.outcome, said.route))
                assert said.status == (0 if said.outcome == "proxied" else int(done["status"])), (question, said, done)
                if said.outcome == "refused":
                    assert done["reason"] == said.text
                else:
                    assert done["route"] == said.route, question
                    assert done.get("server") == (server if said.balance else None)
                for passed in said.passed:
                    assert passed.why, (question, passed)  # there is a reason for every route before
            assert len(outcomes) > 7, outcomes

    asyncio.run(main())


@pytest.mark.parametrize(
    "balance",
    [
        "round_robin", "weighted_round_robin", "least_connections", "ip_hash",
        {"algorithm": "consistent_hash", "key": "header:X-User", "method": "maglev"},
        {"algorithm": "consistent_hash", "key": "query:u", "method": "ring", "bound": 1.5},
        {"algorithm": "consistent_hash", "key": "path", "method": "rendezvous"},
        {"algorithm": "consistent_hash", "key": "cookie:u", "method": "jump"},
    ],
    ids=str,
)  # fmt: skip
def test_servers_are_those_that_the_engine_picks(balance: Any) -> None:
    """Where no chance is involved, and nobody else asks in between."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(origin(OK)) for _ in range(5)]
            mapping = one_backend(*servers, explain=["127.0.0.1"])
            mapping["backends"]["app"]["balance"] = balance
            for number, server in enumerate(servers):
                mapping["backends"]["app"]["servers"][number] = {"address": server, "weight": 1 + number % 3}
            if balance == {"algorithm": "consistent_hash", "key": "cookie:u", "method": "jump"}:
                mapping["backends"]["app"]["servers"] = servers
            engine = await stack.enter_async_context(running(mapping))
            picked = set()
            for n in range(30):
                fields = (("X-User", f"user {n}"), ("Cookie", f"a=1; u=user{n}"))
                question = Question("GET", f"/{n}?u={n}", fields)
                said = asked(engine, question)
                assert said.balance and said.balance.certain and said.outcome == "proxied"
                assert (await answered(engine, question))["server"] == said.balance.picked
                picked.add(said.balance.picked)
                (one,) = [c for c in said.balance.servers if c.picked]
                assert one.name == said.balance.picked and one.share == 1
                assert all(c.why for c in said.balance.servers)
                assert len(said.balance.retries) == 2 and said.balance.picked not in said.balance.retries
            assert len(picked) == 1 if balance == "ip_hash" else len(picked) >= 3

    asyncio.run(main())


def test_asking_changes_nothing() -> None:
    async def main() -> None:
        async with running(one_backend("127.0.0.1:1", "127.0.0.1:2")) as engine:
            before = [(engine.region.picks(i), engine.region.inflight(i), engine.region.epoch(i)) for i in range(2)]
            first = asked(engine, Question("GET", "/"))
            for _ in range(10):
                asked(engine, Question("GET", "/"))
            after = [(engine.region.picks(i), engine.region.inflight(i), engine.region.epoch(i)) for i in range(2)]
            assert before == after and first.balance

    asyncio.run(main())


def shares(said: Explanation) -> dict[str, float]:
    assert said.balance
    return {c.name: c.share for c in said.balance.servers}


def why(said: Explanation, server: str) -> str:
    assert said.balance
    return next(c.why for c in said.balance.servers if c.name == server)


def test_chance_is_shown_as_shares() -> None:
    async def main() -> None:
        mapping = one_backend("127.0.0.1:1", "127.0.0.1:2")
        mapping["backends"]["app"]["servers"] = [
            {"name": "a", "address": "127.0.0.1:1", "weight": 3}, {"name": "b", "address": "127.0.0.1:2"},
        ]  # fmt: skip
        async with running(mapping) as engine:
            said = asked(engine, Question("GET", "/"))
            assert 0.65 < shares(said)["a"] < 0.85 and said.balance and not said.balance.certain
            assert said.balance.picked == "a" and "most likely" in said.text
            engine.region.hold(0, engine.assignment.server("app", engine.spec.backends[0].servers[0].address), 5)
            said = asked(engine, Question("GET", "/"))
            assert shares(said) == {"a": 0, "b": 1} and said.balance and said.balance.certain
            assert why(said, "a") == "busier for its weight"
            assert [c.score for c in said.balance.servers] == [5 / 3, 0]

    asyncio.run(main())


def test_states_of_servers() -> None:
    async def main() -> None:
        mapping = one_backend()
        names = ("up", "down", "drained", "maint", "ejected", "none", "full", "spare")
        mapping["backends"]["app"] = {
            "balance": {"algorithm": "least_connections", "panic_threshold": 0},
            "servers": [
                {"name": name, "address": f"127.0.0.1:{n}", "weight": 0 if name == "none" else 1,
                 "backup": name == "spare", "max_connections": 2 if name == "full" else 0}
                for n, name in enumerate(names, 1)
            ],
        }  # fmt: skip
        async with running(mapping) as engine:
            region, index = engine.region, dict(zip(names, range(len(names)), strict=True))
            region.change_state(index["down"], clear=UP)
            region.change_state(index["drained"], set=DRAIN)
            region.change_state(index["maint"], set=MAINT)
            region.change_state(index["ejected"], set=EJECTED)
            region.hold(0, index["full"], 2)
            region.hold(0, index["up"], 4)
            said = asked(engine, Question("GET", "/"))
            assert said.balance and said.balance.picked == "up" and said.balance.tier == "primary"
            states = {c.name: c.state for c in said.balance.servers}
            assert states == dict.fromkeys(names, "UP") | {
                "down": "DOWN", "drained": "DRAIN", "maint": "MAINT", "ejected": "EJECTED",
            }  # fmt: skip
            assert why(said, "down") == "down" and why(said, "drained") == "drained by the operator"
            assert why(said, "maint") == "in maintenance" and "failed" in why(said, "ejected")
            assert why(said, "none") == "its weight is 0" and "backup" in why(said, "spare")
            assert why(said, "full") == "at its limit: 2 of 2 in flight"
            assert said.balance.servers[0].in_flight == 4
            region.change_state(index["up"], clear=UP)
            said = asked(engine, Question("GET", "/"))
            assert said.outcome == "queued" and said.balance and "limit" in said.text  # only the full one is left
            region.change_state(index["full"], clear=UP)
            said = asked(engine, Question("GET", "/"))
            assert said.balance and said.balance.picked == "spare" and said.balance.tier == "backup"
            region.change_state(index["spare"], set=MAINT)
            said = asked(engine, Question("GET", "/"))
            assert (said.outcome, said.status) == ("no server", 503)

    asyncio.run(main())


def test_panic() -> None:
    async def main() -> None:
        async with running(one_backend("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")) as engine:
            for index in (0, 1):
                engine.region.change_state(index, clear=UP)
            said = asked(engine, Question("GET", "/"))
            assert said.balance and said.balance.panic and all(share > 0 for share in shares(said).values())
            if said.balance.picked != "127.0.0.1:3":
                assert "panic" in why(said, said.balance.picked)

    asyncio.run(main())


def test_a_name_that_was_not_found() -> None:
    spec = parse(one_backend("no-such-host.invalid:80"))
    said = explain_offline(spec, Question("GET", "/"))  # offline all are taken as up
    assert said.outcome == "proxied" and not said.live


def test_rules_and_heads() -> None:
    mapping = one_backend(
        "127.0.0.1:1",
        forwarded={"trust": ["10.0.0.0/8"], "x_request_id": True},
        request_headers={"remove": ["User-Agent"]},
        response_headers={"set": {"A": "1"}},
        routes=[
            {
                "path": "/v1/*",
                "backend": "app",
                "rewrite": {"replace_prefix": ["/v1", "/api"]},
                "request_headers": {"set": {"X-Route": "v1"}},
            },
            {"path": "/go", "redirect": "https://{host}/there"},
        ],
    )
    mapping["backends"]["app"]["response_headers"] = {"remove": ["Server"]}
    spec = parse(mapping)
    fields = (("User-Agent", "u"), ("X-Forwarded-For", "1.2.3.4"), ("X-Request-ID", "abc"))
    said = explain_offline(spec, Question("GET", "/v1/x", fields, "10.1.1.1"))
    assert said.trusted and "X-Forwarded-For: 1.2.3.4, 10.1.1.1" in said.sent.split("\n")
    assert said.sent.startswith("GET /api/x HTTP/1.1\n") and "X-Request-ID: abc" in said.sent.split("\n")
    assert "User-Agent" in said.head and "User-Agent" not in said.sent
    assert [(rule.owner, rule.message, rule.what) for rule in said.rules] == [
        ("forwarded", "request", "write x_forwarded_for, x_forwarded_proto, x_request_id"),
        ("route 1", "request", "path: replace /v1 by /api"),
        ("frontend web", "request", "remove User-Agent"),
        ("route 1", "request", "set X-Route: v1"),
        ("frontend web", "response", "set A: 1"),
        ("backend app", "response", "remove Server"),
    ]
    said = explain_offline(spec, Question("GET", "/v1/x", fields))
    assert not said.trusted and "X-Forwarded-For: 127.0.0.1" in said.sent.split("\n")
    said = explain_offline(spec, Question("GET", "http://h.example/go"))
    assert said.outcome == "redirected" and said.status == 302 and "https://h.example/there" in said.text
    assert "A: 1" in said.answer.split("\n")  # rules of the frontend hold for answers made here
    said = explain_offline(spec, Question("POST", "/v1/x", (("Content-Length", "7"),)))
    assert said.outcome == "proxied"
    mapping["frontends"]["web"]["limits"] = {"body": 5}
    said = explain_offline(parse(mapping), Question("POST", "/v1/x", (("Content-Length", "7"),)))
    assert (said.outcome, said.status) == ("refused", 413)


def test_many_routes_are_told_of_up_to_a_number() -> None:
    routes = [{"path": f"/r{n}", "backend": "app"} for n in range(300)]
    said = explain_offline(parse(one_backend(routes=routes)), Question("GET", "/r250"))
    assert said.route == "251" and len(said.passed) == 100 and said.passed_more == 150


def test_which_frontend() -> None:
    spec = parse(
        {
            "frontends": {
                "web": {"listen": [":8080", ":8081"], "backend": "app"},
                "api": {"listen": ["127.0.0.1:9000"], "backend": "app"},
            },
            "backends": {"app": {"servers": ["127.0.0.1:1"]}},
        }
    )
    assert find_frontend(spec, Question("GET", "http://x:9000/"))[0].name == "api"
    assert str(find_frontend(spec, Question("GET", "http://x:8081/"))[1].address) == ":8081"
    assert find_frontend(spec, Question("GET", "/", frontend="web"))[0].name == "web"
    for question, text in (
        (Question("GET", "/"), "several frontends could be meant"),
        (Question("GET", "http://x:1/"), "no frontend listens on port 1"),
        (Question("GET", "/", frontend="wed"), "there is no HTTP frontend 'wed'"),
        (Question("GET", "http://x:y/"), "no valid port"),
    ):
        with pytest.raises(QuestionError, match=re.escape(text)):
            find_frontend(spec, question)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "G ET"}, {"method": ""}, {"url": "x"}, {"url": "ftp://x/"}, {"url": "/a\r\nb"},
        {"headers": (("A", "b\r\nC: d"),)}, {"client": "nobody"},
    ],
)  # fmt: skip
def test_nonsense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(QuestionError):
        Question(**{"method": "GET", "url": "/", **given})


@pytest.mark.parametrize("algorithm", ["two_choices", "least_time", "random", "least_connections", "round_robin"])
def test_thousands_of_servers(algorithm: str) -> None:
    """Draws are fewer then; the answer is still a server that may be picked."""
    servers = [f"127.0.{n // 250}.{n % 250 + 1}:80" for n in range(3000)]
    mapping = one_backend(*servers)
    mapping["backends"]["app"]["balance"] = algorithm
    said = explain_offline(parse(mapping), Question("GET", "/"))
    assert said.balance and said.balance.picked in servers and len(said.balance.servers) == 3000
    assert abs(sum(shares(said).values()) - 1) < 1e-6
    assert random.choice(said.balance.servers).why


def test_tiers_that_share() -> None:
    async def main() -> None:
        mapping = one_backend("127.0.0.1:1", "127.0.0.1:2", {"address": "127.0.0.1:3", "tier": 1})
        async with running(mapping) as engine:
            said = asked(engine, Question("GET", "/"))
            assert said.balance and said.balance.tier == "primary"
            assert "tier 1 is not needed" in why(said, "127.0.0.1:3")
            engine.region.change_state(0, clear=UP)
            said = asked(engine, Question("GET", "/"))
            assert said.balance and said.balance.tier == "tier 0: 70 %, tier 1: 30 %"
            assert shares(said)["127.0.0.1:3"] == pytest.approx(0.3, abs=0.01)
            assert (said.balance.picked, said.balance.certain) == ("127.0.0.1:2", False)

    asyncio.run(main())


def test_who_is_asked_and_who_gets_a_copy() -> None:
    spec = parse(
        """
        auth.staff.basic = { users = ["ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="], user_header = "X-User", strip = true }
        backends.app.servers = "127.0.0.1:1"
        backends.new.servers = "127.0.0.1:2"
        frontends.web = { listen = ":80", backend = "app", auth = "staff", mirror = "new", routes = [
          { path = "/free", backend = "app", auth = "none" },
        ] }
        """
    )
    told = explain_offline(spec, Question("GET", "http://x/a", (("X-User", "root"), ("Authorization", "Basic x"))))
    assert (told.auth, told.mirror) == ("staff: a password", "new")
    assert ("auth staff", "remove x-user") in [(rule.owner, rule.what) for rule in told.rules]
    assert "root" not in told.sent and "Authorization" not in told.sent
    told = explain_offline(spec, Question("GET", "http://x/free", (("X-User", "root"),)))
    assert told.auth == "" and "X-User: root" in told.sent


SESSIONS = """
    [frontends.tls]
    listen = ":443"
    mode = "tcp"
    routes = [
        { name = "acme", alpn = "acme-tls/1", backend = "mail" },
        { name = "named", sni = ["mail.example.com", "*.mail.example.com"], alpn = ["imap", "smtp"], backend = "mail" },
        { source = "10.0.0.0/8", backend = "mail" },
        { sni = "web.example.com", backend = "web" },
    ]
    [backends]
    web = { mode = "tcp", servers = ["10.0.0.1:443", { address = "10.0.0.4:443", backup = true }] }
    mail = { mode = "tcp", servers = "10.0.0.2:443" }
    """


@pytest.mark.parametrize(
    ("url", "client", "route", "text", "passed"),
    [
        ("tcp://mail.example.com:443?alpn=h2,smtp", "192.0.2.1", "named", "goes to mail/10.0.0.2:443", 1),
        ("tcp://Deep.Mail.example.com?alpn=imap", "192.0.2.1", "named", "goes to mail/10.0.0.2:443", 1),
        ("tcp://mail.example.com", "10.1.2.3", "3", "goes to mail/10.0.0.2:443", 2),
        ("tcp://web.example.com", "192.0.2.1", "4", "goes to web/10.0.0.1:443", 3),
        ("tcp://192.0.2.9:443?alpn=acme-tls/1", "::1", "acme", "goes to mail/10.0.0.2:443", 0),
        ("tcp://192.0.2.9", "::1", "default", "no route matches and there is no backend: the connection is closed", 4),
    ],
)
def test_a_session_by_its_client_hello(url: str, client: str, route: str, text: str, passed: int) -> None:
    told = explain_offline(parse(SESSIONS), Question("GET", url, (), client))
    assert (told.route, told.text, len(told.passed)) == (route, text, passed)
    assert told.outcome == ("refused" if route == "default" else "proxied")
    if route == "default":
        assert [one.why for one in told.passed] == [
            ["alpn is none"], ["sni is none", "alpn is none"], ["source is ::1"], ["sni is none"],
        ]  # fmt: skip
