"""A new version gets a share of the requests; faults are made on purpose."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from fastlb.config import check_mapping
from tests.e2e.balancer import Balancer, Balancers, configuration
from tests.e2e.servers import Answering
from tests.e2e.wire import Origin


@pytest.fixture(scope="module")
def versions(shared_balancer: Balancers, named: list[Answering]) -> Balancer:
    """Backends `stable` and `canary` behind one route, and routes with faults."""
    return shared_balancer(
        named[0].address,
        frontend={
            "routes": [
                {"path": "/random", "split": {"stable": 75, "canary": 25}},
                {"path": "/sticky", "split": {"weights": {"stable": 1, "canary": 1}, "key": "cookie:user"}},
                {"path": "/off", "split": {"stable": 1, "canary": 0}},
                {"path": "/late", "backend": "stable", "faults": {"delay": "200ms"}},
                {"path": "/broken", "backend": "stable", "faults": {"abort": 503, "header": "X-Fault"}},
                {"path": "/some", "respond": {"body": "ok"}, "faults": {"abort": 500, "percent": "30%"}},
                {"path": "/hang", "backend": "stable", "faults": {"delay": "1h"}},
            ],
        },
        backends={
            "stable": {"servers": named[0].address, "response_headers": {"set": {"X-Version": "1"}}},
            "canary": {"servers": named[1].address, "response_headers": {"set": {"X-Version": "2"}}},
        },
    )


def ask(lb: Balancer, target: str, n: int, *lines: str) -> list[tuple[int, str]]:
    with lb.dial() as client:
        answers = [client.get(target, *lines).response() for _ in range(n)]
    return [(answer.status, answer.text) for answer in answers]


def test_the_canary_gets_its_share(versions: Balancer) -> None:
    counts = Counter(text for _, text in ask(versions, "/random", 400))
    assert 60 <= counts["s1"] <= 140  # 100 expected, four standard deviations
    assert counts["s0"] + counts["s1"] == 400
    assert {text for _, text in ask(versions, "/off", 50)} == {"s0"}


def test_a_user_stays_at_one_version(versions: Balancer) -> None:
    sides = {u: {text for _, text in ask(versions, "/sticky", 5, f"Cookie: user={u}")} for u in range(30)}
    assert all(len(side) == 1 for side in sides.values())
    assert {side.pop() for side in sides.values()} == {"s0", "s1"}


def test_each_version_has_the_rules_of_its_backend(versions: Balancer) -> None:
    with versions.dial() as client:
        for _ in range(20):
            answer = client.get("/random").response()
            assert (answer.text, answer.get("x-version")) in (("s0", "1"), ("s1", "2"))


def test_a_delay_and_an_abort(versions: Balancer) -> None:
    began = time.monotonic()
    assert ask(versions, "/late", 1) == [(200, "s0")]
    assert time.monotonic() - began >= 0.2
    assert [status for status, _ in ask(versions, "/broken", 2, "X-Fault: 1")] == [503, 503]
    assert ask(versions, "/broken", 1) == [(200, "s0")]
    counts = Counter(status for status, _ in ask(versions, "/some", 300))
    assert 50 <= counts[500] <= 130  # 90 expected


def test_a_body_waits_with_its_request(balancer: Balancers, origin: Origin) -> None:
    lb = balancer(origin, frontend={"faults": {"delay": "100ms"}})
    client = lb.dial().send("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
    client.send("again")
    server, request = origin.request()
    assert request.body == b"firstagain"
    server.answer("done")
    assert client.response().text == "done"


def test_who_leaves_while_it_waits_is_forgotten(versions: Balancer) -> None:
    for _ in range(3):
        with versions.dial() as client:
            assert client.get("/hang?left").silent()  # it waits; closing at once would look like a half-close
    assert versions.logged("/hang?left").term == "CR--"
    assert ask(versions, "/off", 1) == [(200, "s0")]


def test_what_makes_no_sense_is_refused(named: list[Answering]) -> None:
    def errors(**route: object) -> str:
        routes = [{"path": "/*", **route}]
        mapping = configuration((named[0].address,), frontend={"routes": routes, "listen": ":1"})
        return "\n".join(map(str, check_mapping(mapping).errors))

    assert 'did you mean "app"' in errors(split={"ap": 1})
    assert "exactly one action" in errors(split={"app": 1}, backend="app")
    assert "every weight is 0" in errors(split={"app": 0})
    assert "a network" in errors(backend="app", access={"deny": "me"})
