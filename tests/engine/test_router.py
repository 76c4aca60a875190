"""The router against cases with known answers."""

from __future__ import annotations

import pytest

from fastlb.engine.router import Router
from fastlb.spec import Route
from tests.oracle.router import Request, first_match


def route(**conditions: object) -> Route:
    """A route by lists, as a configuration has them."""
    return Route(**{k: tuple(v) if isinstance(v, list) else v for k, v in conditions.items()})  # type: ignore[arg-type]


def found(routes: list[Route], request: Request) -> int | str | None:
    """The router's answer, which must be the oracle's."""
    try:
        answer: int | str | None = Router(routes).find(request.head(), request.client)
    except ValueError as e:
        assert "ambiguous" in str(e)
        answer = "refused"
    assert answer == first_match(routes, request)
    return answer


def test_no_routes() -> None:
    assert found([], Request(path=b"/%00")) is None
    assert len(Router()) == 0


@pytest.mark.parametrize(
    ("pattern", "host", "match"),
    [
        ("api.example.com", "api.example.com", True),
        ("API.Example.com", "api.eXample.COM", True),
        ("api.example.com", "api.example.com.", True),
        ("api.example.com.", "api.example.com", True),
        ("api.example.com", "xapi.example.com", False),
        ("api.example.com", "api.example.co", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "A.EXAMPLE.COM.", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "badexample.com", False),
        ("*", "anything", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]", "[::1]", True),
    ],
)
def test_host(pattern: str, host: str, match: bool) -> None:
    routes = [route(host=[pattern])]
    assert (found(routes, Request(host=host)) == 0) is match
    assert (Router(routes).find(Request(host=host + ":8080").head()) == 0) is match


def test_host_of_absolute_form_wins() -> None:
    router = Router([route(host=["inner.test"]), route(host=["outer.test"])])
    assert router.find(b"GET http://outer.test/ HTTP/1.1\r\nHost: inner.test\r\n\r\n") == 1


def test_request_without_host() -> None:
    router = Router([route(host=["a.test"]), route(host=["*.test"]), route(path=["/x"])])
    assert router.find(b"GET /x HTTP/1.0\r\n\r\n") == 2


def test_host_longer_than_any_pattern() -> None:
    suffix = "." + "b" * 249 + ".test"  # 255 bytes: the longest that a pattern can have
    routes = [route(host=["*" + suffix]), route(host=["*.test"]), route()]
    assert found(routes, Request(host="a" + suffix)) == 0
    assert found(routes, Request(host="a" * 300 + suffix)) == 0
    assert found(routes, Request(host="a" * 5000 + ".test")) == 1
    assert found(routes, Request(host="a" * 5000 + ".tes")) == 2


@pytest.mark.parametrize(
    ("pattern", "path", "match"),
    [
        ("/a", b"/a", True),
        ("/a", b"/a/", False),
        ("/a", b"/A", False),
        ("/", b"/", True),
        ("/", b"/a", False),
        ("/v1/*", b"/v1", True),
        ("/v1/*", b"/v1/", True),
        ("/v1/*", b"/v1/x/y", True),
        ("/v1/*", b"/v1x", False),
        ("/v1*", b"/v1x/y", True),
        ("/v1*", b"/v", False),
        ("/*", b"/", True),
        ("/*", b"/a/b", True),
        ("*", b"/a/b", True),
        ("/a/*/c", b"/a/b/c", True),
        ("/a/*/c", b"/a/b/x/c", False),
        ("/a/*/c", b"/a/c", False),
        ("/a/*/c/*", b"/a/b/c", True),
        ("/a/*/c/*", b"/a/b/c/d/e", True),
        ("/img/*.png", b"/img/x.png", True),
        ("/img/*.png", b"/img/x.png.png", True),
        ("/img/*.png", b"/img/x/y.png", False),
        ("/img/*.png", b"/img/x.jpg", False),
        ("/*.png", b"/x.png", True),
        ("/a*b*c", b"/aXbYbZc", True),
        ("/a*b*c", b"/aXbYbZ", False),
        ("/caf\u00e9", b"/caf%C3%A9", True),
        ("/caf%C3%A9", b"/caf%c3%a9", True),
        ("/a b", b"/a%20b", True),
        ("/a%2Ab/*", b"/a*b/c", True),
        ("/a%2Ab/*", b"/aXb/c", False),
        ("/a@b", b"/a%40b", True),
    ],
)
def test_path(pattern: str, path: bytes, match: bool) -> None:
    assert (found([route(path=[pattern])], Request(path=path)) == 0) is match


@pytest.mark.parametrize(
    "path",
    [
        b"/%61dmin",
        b"/%41dmin/..//admin".replace(b"//", b"/"),
        b"//admin",
        b"/./admin",
        b"/x/../admin",
        b"/x/%2e%2E/admin",
        b"/../admin",
        b"/x/y/../../admin",
        b"/admin/",
        b"/admin%2Fsecret",
        b"/admin//x",
        b"/admin/./x/",
        b"/admin?x=/..",
    ],
)
def test_no_spelling_dodges_a_path_rule(path: bytes) -> None:
    path, _, query = path.partition(b"?")
    assert found([route(path=["/admin/*"]), route()], Request(path=path, query=query)) == 0


@pytest.mark.parametrize(
    "path",
    [
        b"/public%2F..%2Fadmin",
        b"/admin/x%2F..%2F..%2Fpublic",
        b"/x%2F../admin",
        b"/public/..%2fadmin",
        b"/a//../admin",
        b"/admin%00",
        b"/x/..;/admin",
        b"/x/..;a=b/admin",
        b"/.;/admin",
        b"/x/..%5cadmin",
        b"/x%5c../admin",
        b"/a%2F./admin",
    ],
)
def test_ambiguous_paths_are_refused(path: bytes) -> None:
    assert found([route(path=["/public/*"]), route()], Request(path=path)) == "refused"
    # nobody asked about paths: nothing to dodge
    assert found([route(host=["other.test"]), route()], Request(path=path)) == 1


def test_absolute_form_without_path_is_the_root() -> None:
    router = Router([route(path=["/x"]), route(path=["/"])])
    assert router.find(b"GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n") == 1
    assert router.find(b"GET http://a.test?q=1 HTTP/1.1\r\nHost: a.test\r\n\r\n") == 1


def test_asterisk_of_options() -> None:
    router = Router([route(path=["/*"]), route(path=["*"], methods=["OPTIONS"])])
    assert router.find(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n") == 1


def test_methods() -> None:
    routes = [route(methods=["GET", "PURGE"]), route(methods=["get"]), route(methods=["POST"])]
    assert found(routes, Request(method="GET")) == 0
    assert found(routes, Request(method="PURGE")) == 0
    assert found(routes, Request(method="get")) == 1
    assert found(routes, Request(method="POST")) == 2
    assert found(routes, Request(method="HEAD")) is None
    assert found(routes, Request(method="PURGES")) is None


def test_headers() -> None:
    routes = [
        route(headers=[("X-Beta", "1"), ("Accept", "*json*")]),
        route(headers=[("x-beta", "*")]),
        route(headers=[("User-Agent", "curl/*")]),
    ]
    assert found(routes, Request(headers=(("X-BETA", "1"), ("accept", "text/html, application/json;q=1")))) == 0
    assert found(routes, Request(headers=(("X-Beta", "2"),))) == 1
    assert found(routes, Request(headers=(("X-Beta", ""),))) == 1
    assert found(routes, Request(headers=(("X-Beta", "2"), ("X-Beta", "1"), ("Accept", "json")))) == 0
    assert found(routes, Request(headers=(("User-Agent", "curl/8.0"),))) == 2
    assert found(routes, Request(headers=(("User-Agent", "Curl/8.0"), ("X-Beta2", "1")))) is None


def test_query() -> None:
    routes = [route(query=[("v", "2")]), route(query=[("debug", "*")]), route(query=[("q", "a b*")])]
    assert found(routes, Request(query=b"v=2")) == 0
    assert found(routes, Request(query=b"x=1&v=1&v=2")) == 0
    assert found(routes, Request(query=b"%76=%32")) == 0
    assert found(routes, Request(query=b"v=22")) is None
    assert found(routes, Request(query=b"debug")) == 1
    assert found(routes, Request(query=b"debug=")) == 1
    assert found(routes, Request(query=b"debugger")) is None
    assert found(routes, Request(query=b"q=a+b%20c")) == 2
    assert found(routes, Request(query=b"&&=x&q=a%20b")) == 2
    assert found(routes, Request(query=b"q=a%2")) is None


def test_source() -> None:
    routes = [route(source=["10.0.0.0/8", "2001:db8::/32"]), route(source=["unix"]), route(source=["::/0"])]
    assert found(routes, Request(client="10.200.1.1")) == 0
    assert found(routes, Request(client="::ffff:10.1.1.1")) == 0
    assert found(routes, Request(client="2001:db8::1")) == 0
    assert found(routes, Request(client="unix")) == 1
    assert found(routes, Request(client="2001:db9::1")) == 2
    assert found(routes, Request(client="192.168.1.1")) is None


def test_first_match_wins_across_kinds_of_patterns() -> None:
    routes = [
        route(path=["/static/*"], host=["*.example.com"]),
        route(host=["www.example.com"]),
        route(path=["/static/x"]),
        route(),
    ]
    assert found(routes, Request(host="www.example.com", path=b"/static/x")) == 0
    assert found(routes, Request(host="www.example.com", path=b"/other")) == 1
    assert found(routes, Request(host="other.org", path=b"/static/x")) == 2
    assert found(routes, Request(host="other.org", path=b"/other")) == 3
    routes.reverse()
    assert found(routes, Request(host="www.example.com", path=b"/static/x")) == 0


def test_several_patterns_of_one_route() -> None:
    routes = [route(host=["a.test", "*.b.test"], path=["/x", "/y/*"])]
    for host in ("a.test", "c.b.test"):
        for path in (b"/x", b"/y", b"/y/z"):
            assert found(routes, Request(host=host, path=path)) == 0
    assert found(routes, Request(host="b.test", path=b"/x")) is None
    assert found(routes, Request(host="a.test", path=b"/z")) is None


def test_paths_deeper_than_the_index() -> None:
    deep = "/d" * 100
    routes = [route(path=[deep + "/a"]), route(path=[deep + "/b/*"]), route(path=[deep + "/*.c"])]
    assert found(routes, Request(path=deep.encode() + b"/a")) == 0
    assert found(routes, Request(path=deep.encode() + b"/b/c")) == 1
    assert found(routes, Request(path=deep.encode() + b"/x.c")) == 2
    assert found(routes, Request(path=deep.encode())) is None


def test_path_longer_than_the_scratch_buffer() -> None:
    long = b"/x/.." * 20_000 + b"/admin"
    assert found([route(path=["/admin"])], Request(path=long)) == 0
    assert found([route(path=["/admin"])], Request(path=long + b"%00")) == "refused"


def test_many_routes() -> None:
    routes = [route(host=[f"h{i}.test"], path=[f"/p{i % 7}/*"]) for i in range(20_000)] + [route(host=["*.test"])]
    router = Router(routes)
    assert len(router) == 20_001
    for i in range(0, 20_000, 997):
        assert router.find(Request(host=f"h{i}.test", path=f"/p{i % 7}/x".encode()).head()) == i
        assert router.find(Request(host=f"h{i}.test", path=b"/none").head()) == 20_000
    assert router.find(Request(host="h1.example").head()) is None


@pytest.mark.parametrize(
    "conditions",
    [
        {"host": ["a:80"]},
        {"host": ["a*b"]},
        {"host": ["*x.test"]},
        {"host": [""]},
        {"host": ["a/b"]},
        {"path": ["a"]},
        {"path": ["/a?b"]},
        {"path": ["/a/../b"]},
        {"path": ["/a//b"]},
        {"path": ["/a/**"]},
        {"path": ["/a%00"]},
        {"headers": [("", "x")]},
        {"headers": [("X Y", "x")]},
        {"query": [("", "x")]},
        {"methods": ["GE T"]},
        {"source": ["10.0.0.0/33"]},
        {"source": ["example.com"]},
    ],
)
def test_meaningless_conditions_are_refused(conditions: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="route mine"):
        Router([route(name="mine", **conditions)])
