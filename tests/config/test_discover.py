"""`discover` of a backend."""

from __future__ import annotations

from typing import Any

import pytest

from fastlb import spec
from fastlb.config import check_mapping

from .samples import texts


def check(discover: Any, **backend: Any) -> Any:
    return check_mapping(
        {"frontends": {"f": {"listen": ":1", "backend": "b"}}, "backends": {"b": {"discover": discover, **backend}}}
    )


def found(discover: Any, **backend: Any) -> tuple[spec.Discover, ...]:
    report = check(discover, **backend)
    assert texts(report) == []
    return tuple(report.spec.backends[0].discover)


def test_short_and_long() -> None:
    one = spec.Discover("app.internal", 8080)
    assert found("APP.internal:8080") == found([{"dns": "app.internal:8080"}]) == (one,)
    assert (one.question, str(one)) == ("app.internal", "app.internal:8080")
    services = spec.Discover("_http._tcp.app")
    assert found({"srv": "_http._tcp.app"}) == found({"srv": "srv:_http._tcp.app"}) == (services,)
    assert services.question == str(services) == "srv:_http._tcp.app"


def test_every_key() -> None:
    table = {
        "dns": "app:80", "family": "ipv6", "max_servers": 3, "weight": 4, "tier": 5, "max_connections": 6,
        "slow_start": "7s", "send_proxy": "v1",
    }  # fmt: skip
    expected = spec.Discover("app", 80, "ipv6", 3, weight=4, tier=5, max_connections=6, send_proxy="v1", slow_start=7.0)
    assert found(table, send_proxy="v2") == (expected,)
    assert found("app:80", send_proxy="v2")[0].send_proxy == "v2"
    assert found({"dns": "app:80", "send_proxy": "off"}, send_proxy="v2")[0].send_proxy == ""
    assert found({"dns": "app:80", "backup": True})[0].backup


@pytest.mark.parametrize(
    ("discover", "told"),
    [
        ("10.0.0.1:80", 'backends.b.discover = "10.0.0.1:80": an address is one server: put it into servers'),
        ("unix:/a", "a Unix socket is one server: put it into servers"),
        ("app", 'the port is missing; an address looks like "10.0.0.1:8080"; did you mean "app:80"?'),
        ({"srv": "_a._tcp.b:80"}, 'has no port: SRV records tell it; did you mean "_a._tcp.b"?'),
        ({"srv": "a b"}, "not a valid name; it looks like _http._tcp.app.internal"),
        ({"weight": 2}, "needs a name: dns or srv"),
        ({"dns": "a:1", "srv": "b"}, "only one of dns and srv"),
        ({"srv": "b", "weight": 2}, "is only for dns: SRV records tell their own"),
        (["a:1", "a:1"], "the same name as in discover[0]"),
        ({"dns": "a:1", "backup": True, "tier": 2}, "a backup stands in no tier"),
        ({"dns": "a:1", "family": "v4"}, 'must be any, ipv4 or ipv6; did you mean "ipv4"?'),
    ],
)
def test_what_is_wrong(discover: Any, told: str) -> None:
    assert any(told in text for text in texts(check(discover))), texts(check(discover))


def test_beside_servers() -> None:
    assert found("app:80", servers=["10.0.0.1:80", "app:81"])
    (text,) = texts(check("app:80", servers=["app:80"]))
    assert "is one of the servers as well" in text
    (text,) = texts(check_mapping({"frontends": {"f": {"listen": ":1", "backend": "b"}}, "backends": {"b": {}}}))
    assert "at least one server" in text
