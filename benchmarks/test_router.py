"""What routing costs a request, and what building a table costs a reload.

A round is 10,000 matches of one parsed head inside the compiled code; the figure beside the name that counts is
`ns_per_match` in the extra information, since a round's time includes one parse of the head.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastlb.engine.router import Router
from fastlb.spec import Route

MATCHES = 10_000
HEAD = (
    b"GET %b?x=1 HTTP/1.1\r\nHost: %b\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
    b"Accept: */*\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n"
)


def measure(benchmark: BenchmarkFixture, router: Router, head: bytes, expected: int | None) -> None:
    assert router.find(head, "10.0.0.1") == expected
    benchmark.pedantic(router.find, (head, "10.0.0.1"), {"repeat": MATCHES}, rounds=15, warmup_rounds=2)
    benchmark.extra_info["ns_per_match"] = round(benchmark.stats["median"] / MATCHES * 1e9, 1)


def by_host(count: int) -> list[Route]:
    return [Route(host=(f"h{i}.example.com",), path=(f"/p{i % 7}/*",)) for i in range(count)]


def by_path(count: int) -> list[Route]:
    return [Route(path=(f"/service{i}/*",)) for i in range(count)]


@pytest.mark.parametrize("count", [10, 1_000, 100_000])
def test_match_by_host(benchmark: BenchmarkFixture, count: int) -> None:
    last = count - 1
    head = HEAD % (b"/p%d/some/path/page.html" % (last % 7), b"h%d.example.com" % last)
    measure(benchmark, Router(by_host(count)), head, last)


@pytest.mark.parametrize("count", [10, 1_000, 100_000])
def test_match_by_path(benchmark: BenchmarkFixture, count: int) -> None:
    head = HEAD % (b"/service%d/some/path/page.html" % (count - 1), b"www.example.com")
    measure(benchmark, Router(by_path(count)), head, count - 1)


@pytest.mark.parametrize("count", [10, 1_000, 100_000])
def test_no_match(benchmark: BenchmarkFixture, count: int) -> None:
    measure(benchmark, Router(by_host(count)), HEAD % (b"/some/path/page.html", b"www.example.org"), None)


def test_match_of_a_path_that_is_not_plain(benchmark: BenchmarkFixture) -> None:
    head = HEAD % (b"/x/../service9//some%20path/page.html", b"www.example.com")
    measure(benchmark, Router(by_path(10)), head, 9)


def test_match_by_all_conditions(benchmark: BenchmarkFixture) -> None:
    routes = [
        Route(
            host=("*.example.com",),
            path=("/*",),
            methods=("GET",),
            headers=(("Accept-Language", "e*"), ("X-Beta", value)),
            query=(("x", "1"),),
            source=("10.0.0.0/8", "2001:db8::/32"),
        )
        for value in ("a", "b", "c")
    ]
    head = HEAD % (b"/some/path/page.html", b"www.example.com")
    measure(benchmark, Router(routes), head[:-2] + b"X-Beta: c\r\n\r\n", 2)


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_build(benchmark: BenchmarkFixture, count: int) -> None:
    routes = by_host(count)
    assert len(benchmark.pedantic(Router, (routes,), rounds=3)) == count
