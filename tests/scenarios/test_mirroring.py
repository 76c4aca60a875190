"""A second backend gets copies of requests, and where its answers differ is told; nobody else notices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import Message, Origin
from tests.helpers import free_port, wait_until


class Version(Answering):
    """Answers by path; keeps the requests it got."""

    def __init__(self, number: int) -> None:
        self.got: list[Message] = []
        self.number = number
        super().__init__(self.answer_)

    def answer_(self, request: Message) -> bytes:
        self.got.append(request)
        path = request.target.partition("?")[0]
        new = self.number == 2
        if path == "/status" and new:
            return b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nsame"
        if path == "/header":
            return b"HTTP/1.1 200 OK\r\nContent-Type: text/%d\r\nContent-Length: 0\r\n\r\n" % self.number
        if path == "/body":
            return b"one" if self.number == 1 else b"two"
        if path == "/chunks":  # the same bytes, framed and cut differently
            body = b"abc" * 5000
            if new:
                return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            pieces = b"".join(b"%x\r\n%s\r\n" % (7, body[i : i + 7]) for i in range(0, len(body) - 7, 7))
            rest = body[(len(body) - 1) // 7 * 7 :]
            return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"%x\r\n%s\r\n0\r\n\r\n") % (
                len(rest),
                rest,
            )
        if path == "/cut" and new:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        return b"same"


@pytest.fixture(scope="module")
def versions() -> Iterator[list[Version]]:
    both = [Version(1), Version(2)]
    yield both
    for one in both:
        one.stop()


@pytest.fixture(scope="module")
def admin() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pair(shared_balancer: Balancers, versions: list[Version], server: Origin, admin: int) -> Balancer:
    return shared_balancer(
        versions[0].address,
        frontend={
            "mirror": "candidate",
            "routes": [
                {"name": "slow", "path": "/slow", "backend": "app", "mirror": {"backend": "slow", "max_concurrent": 1}},
                {"name": "some", "path": "/some", "backend": "app", "mirror": {"backend": "candidate", "percent": 0.3}},
                {"name": "down", "path": "/down", "backend": "app", "mirror": {"backend": "down"}},
                {"name": "cut", "path": "/cut", "backend": "app", "mirror": {"backend": "candidate", "timeout": "1s"}},
                {"name": "small", "path": "/small", "backend": "app",
                 "mirror": {"backend": "candidate", "max_body": 100}},
                {"name": "rules", "path": "/old/*", "backend": "app", "rewrite": {"replace_prefix": ["/old", "/new"]},
                 "request_headers": {"set": {"X-Rule": "1"}}},
            ],
        },
        backends={
            "candidate": {"servers": versions[1].address, "request_headers": {"set": {"X-Copy": "1"}}},
            "slow": {"servers": server.address},
            "down": {"servers": "127.0.0.1:1"},
        },
        admin={"listen": f"127.0.0.1:{admin}", "token": "a-token-of-the-tests"},
    )  # fmt: skip


def mirrors(port: int) -> dict[str, dict[str, Any]]:
    from urllib.request import Request

    request = Request(f"http://127.0.0.1:{port}/v1/mirrors", headers={"Authorization": "Bearer a-token-of-the-tests"})
    with urlopen(request, timeout=10) as answer:
        return {one["route"]: one for one in json.load(answer)["mirrors"]}


def settled(port: int, route: str, key: str, least: int) -> dict[str, Any]:
    """The route's mirror once it has counted so many."""
    wait_until(lambda: mirrors(port)[route]["counts"][key] >= least, what=f"{least} {key} of {route}")
    return mirrors(port)[route]


def ask(lb: Balancer, target: str, *lines: str) -> tuple[int, bytes]:
    with lb.dial() as client:
        answer = client.get(target, *lines).response()
        return answer.status, answer.body


def test_the_copy_is_the_request_as_servers_get_it(pair: Balancer, versions: list[Version]) -> None:
    for version in versions:
        version.got.clear()
    with pair.dial() as client:
        client.post("/old/a?b=c", b"the body", "X-Mine: 1", "Cookie: s=1")
        assert client.response().text == "same"
    wait_until(lambda: versions[1].got, what="the copy")
    real, copy = versions[0].got[0], versions[1].got[0]
    assert (copy.start, copy.body) == (real.start, real.body) == ("POST /new/a?b=c HTTP/1.1", b"the body")
    assert copy.get("x-copy") == "1" and real.get("x-copy") is None
    assert sorted(copy.fields) == sorted([*real.fields, ("x-copy", "1")])


def test_a_body_that_comes_later_is_copied_too(pair: Balancer, versions: list[Version]) -> None:
    versions[1].got.clear()
    with pair.dial() as client:
        client.send("POST /later HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_until(lambda: pair.program is not None and versions[0].connections > 0, what="the real one under way")
        client.send("3\r\ndef\r\n", "0\r\n\r\n")
        assert client.response().text == "same"
    wait_until(lambda: versions[1].got, what="the copy")
    assert versions[1].got[0].body == b"abcdef"


@pytest.mark.parametrize(
    ("target", "what", "key"),
    [("/status", ["status"], "by_status"), ("/header", ["headers"], "by_headers"), ("/body", ["body"], "by_body")],
)
def test_what_differs_is_told(pair: Balancer, admin: int, target: str, what: list[str], key: str) -> None:
    before = mirrors(admin)["default"]["counts"][key]
    ask(pair, f"{target}?secret=1")
    told = settled(admin, "default", key, before + 1)
    example = next(e for e in told["examples"] if target in e["line"])
    assert example["what"] == what and example["client"] == "127.0.0.1" and example["server"] == "s0"
    if what == ["status"]:
        assert (example["real"]["status"], example["mirror"]["status"]) == (200, 500)
        assert example["real"]["hash"] == example["mirror"]["hash"]
    if what == ["headers"]:
        assert example["headers"] == [{"name": "content-type", "real": "text/1", "mirror": "text/2"}]
    if what == ["body"]:
        assert example["real"]["hash"] != example["mirror"]["hash"] and example["real"]["length"] == 3
    pair.complained(f"mirror candidate differs from web in {what[0]}.*{target}")


def test_framing_is_no_difference(pair: Balancer, admin: int) -> None:
    before = mirrors(admin)["default"]["counts"]
    status, body = ask(pair, "/chunks")
    assert (status, body) == (200, b"abc" * 5000)
    after = settled(admin, "default", "same", before["same"] + 1)["counts"]
    assert after["differing"] == before["differing"]


def test_a_mirror_that_is_down_or_breaks_off_is_counted_and_nothing_else(pair: Balancer, admin: int) -> None:
    for _ in range(5):
        assert ask(pair, "/down") == (200, b"same")
    assert settled(admin, "down", "failed", 5)["counts"]["differing"] == 0
    assert ask(pair, "/cut") == (200, b"same")
    assert settled(admin, "cut", "failed", 1)["running"] == 0  # half an answer, and then nothing for a second


def test_a_mirror_that_hangs_delays_nobody_and_only_so_many_run(pair: Balancer, admin: int, server: Origin) -> None:
    assert ask(pair, "/slow?1") == (200, b"same")
    held = server.request()[0]
    for _ in range(3):
        assert ask(pair, "/slow?2") == (200, b"same")
    assert settled(admin, "slow", "busy", 3)["running"] == 1
    held.answer("other")
    assert settled(admin, "slow", "differing", 1)["running"] == 0


def test_only_a_share_and_only_small_bodies(pair: Balancer, admin: int) -> None:
    with pair.dial() as client:
        for _ in range(300):
            assert client.get("/some").response().status == 200
        for n in (50, 500):
            client.post("/small", b"x" * n)
            assert client.response().status == 200
    assert 45 <= settled(admin, "some", "sent", 45)["counts"]["sent"] <= 140  # 90 expected
    counts = settled(admin, "small", "same", 1)["counts"]
    assert (counts["sent"], counts["too_large"]) == (1, 1)


def test_strangers_do_not_see_what_others_asked_for(pair: Balancer, admin: int) -> None:
    from urllib.error import HTTPError

    with pytest.raises(HTTPError) as refused:
        urlopen(f"http://127.0.0.1:{admin}/v1/mirrors", timeout=10)
    assert refused.value.code == 401
    refused.value.close()
    assert time.monotonic() > 0
