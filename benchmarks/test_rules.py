"""What rewriting a head and answering by oneself cost. As in test_router.py, `ns_per_head` is what counts."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastlb.engine.networks import Networks
from fastlb.engine.rules import Redirect, Respond, https_redirect
from fastlb.http.rewrite import RequestPlan, ResponsePlan
from fastlb.spec import Forwarded, HeaderRules, PathRewrite

HEADS = 10_000
SMALL = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
BROWSER = (
    b"GET /api/some/page.html?x=1 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="120", "Not?A_Brand";v="8"\r\nsec-ch-ua-mobile: ?0\r\nUpgrade-Insecure-Requests: 1\r\n'
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\nReferer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html\r\n"
    b'Content-Length: 120\r\nConnection: keep-alive\r\nETag: "5f2a"\r\n\r\n'
)
RULES = (
    HeaderRules(remove=("Cookie", "X-Internal"), set=(("X-Site", "main"),)),
    HeaderRules(set=(("X-Route", "api"),), add=(("Via", "1.1 fastlb"),)),
)
PLANS = {
    "nothing": RequestPlan(),
    "default": RequestPlan((), Forwarded()),
    "identity": RequestPlan((), Forwarded(True, True, True, True, True, True)),
    "rules": RequestPlan(RULES, Forwarded()),
    "path": RequestPlan((), Forwarded(), PathRewrite(strip_prefix="/api")),
}


def measure(benchmark: BenchmarkFixture, apply: object, *args: object, **options: object) -> None:
    benchmark.pedantic(apply, args, {"repeat": HEADS, **options}, rounds=15, warmup_rounds=2)
    benchmark.extra_info["ns_per_head"] = round(benchmark.stats["median"] / HEADS * 1e9, 1)


@pytest.mark.parametrize("head", [SMALL, BROWSER], ids=["small", "browser"])
@pytest.mark.parametrize("plan", PLANS)
def test_request(benchmark: BenchmarkFixture, plan: str, head: bytes) -> None:
    measure(benchmark, PLANS[plan].apply, head, client="192.168.100.200", request_id="0" * 32)


def test_request_of_a_trusted_proxy(benchmark: BenchmarkFixture) -> None:
    head = BROWSER[:-2] + b"X-Forwarded-For: 198.51.100.7, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    measure(benchmark, PLANS["default"].apply, head, client="192.168.100.200", trusted=True)


@pytest.mark.parametrize(
    "rules", [(), (HeaderRules(remove=("Server",), set=(("X-A", "b"),)),)], ids=["nothing", "rules"]
)
def test_response(benchmark: BenchmarkFixture, rules: tuple[HeaderRules, ...]) -> None:
    measure(benchmark, ResponsePlan(rules).apply, RESPONSE)


def test_redirect(benchmark: BenchmarkFixture) -> None:
    measure(benchmark, Redirect("https://{host}/new{uri}").apply, BROWSER)


def test_https_redirect(benchmark: BenchmarkFixture) -> None:
    measure(benchmark, https_redirect, BROWSER)


def test_respond(benchmark: BenchmarkFixture) -> None:
    measure(benchmark, Respond(200, "ok\n").apply, BROWSER)


def test_build_networks(benchmark: BenchmarkFixture) -> None:
    texts = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(0, 2_000, 2)]
    assert len(benchmark.pedantic(Networks, (texts,), rounds=3)) == 1_000
