"""Rate limits on the wire: who is counted apart, what a refusal says, and over several workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .balancer import Balancers
from .wire import Origin, dial


def test_over_the_limit_is_429_with_retry_after(balancer: Balancers) -> None:
    b = balancer(frontend={
        "rate_limits": [{"rate": "1/m", "burst": 1}],
        "routes": [{"path": "/*", "respond": {"body": "ok"}}],
    })  # fmt: skip
    with b.dial() as c:
        assert [c.get("/").response().status for _ in range(2)] == [200, 200]
        refused = c.get("/over", "Accept: application/json").response()
        assert refused.status == 429
        assert 1 <= int(refused.get("retry-after") or 0) <= 60
        assert "json" in (refused.get("content-type") or "")
        assert c.get("/").response().status == 429  # the connection goes on
    refusal = b.logged("GET /over ")
    assert (refusal.status, refusal.term) == (429, "PR--")


def test_keys_of_headers_and_routes_are_apart(balancer: Balancers) -> None:
    b = balancer(frontend={"routes": [
        {"path": "/a", "respond": {"status": 204}, "rate_limits": [{"rate": "1/h", "key": ["ip", "header:X-Key"]}]},
        {"path": "/b", "respond": {"status": 204}, "rate_limits": "1/h"},
        {"path": "/c", "respond": {"status": 204}, "rate_limits": [{"rate": "1/h", "exempt": "127.0.0.0/8"}]},
        {"path": "/d", "respond": {"status": 204}, "rate_limits": [{"rate": "1/h", "dry_run": True}]},
    ]})  # fmt: skip
    with b.dial() as c:

        def status(path: str, *lines: str) -> int:
            return c.get(path, *lines).response().status

        assert [status("/a", "X-Key: 1"), status("/a", "X-Key: 2"), status("/a", "X-Key: 1")] == [204, 204, 429]
        assert [status("/a"), status("/a")] == [204, 204]  # no key, no count
        assert [status("/b"), status("/b", "X-Key: 9")] == [204, 429]
        assert [status("/c"), status("/c")] == [204, 204]
        assert [status("/d"), status("/d")] == [204, 204]


def test_addresses_are_counted_apart(balancer: Balancers) -> None:
    b = balancer(frontend={"rate_limits": "1/h", "routes": [{"path": "/*", "respond": {"status": 204}}]})
    for source, expected in (("127.0.0.2", 204), ("127.0.0.3", 204), ("127.0.0.2", 429)):
        with dial(b.address, source=source) as c:
            assert c.get("/").response().status == expected


def test_several_workers_count_together(balancer: Balancers, origin: Origin) -> None:
    b = balancer(
        frontend={
            "rate_limits": [{"rate": "1/d", "burst": 49}],
            "routes": [{"path": "/*", "respond": {"status": 204}}],
        },
        global_={"workers": 2},
    )

    def one(_: int) -> int:
        with b.dial() as c:
            return c.get("/", "Connection: close").response().status

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(one, range(200)))
    assert (got.count(204), got.count(429)) == (50, 150)
