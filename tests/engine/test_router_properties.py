"""The router against the oracle, and the plain form of paths against its own."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastlb.engine.glob import path_matches, value_matches
from fastlb.engine.patterns import path_pattern, value_pattern
from fastlb.engine.router import Router
from fastlb.http.path import plain
from fastlb.spec import Route
from tests.oracle import router as oracle
from tests.oracle.router import Request

# Few letters, so that patterns and requests meet.
HOSTS = ["a.test", "b.a.test", "c.b.a.test", "A.TEST", "a.test.", "test", "x", "a.b.test", "ba.test"]
HOST_PATTERNS = ["a.test", "*.a.test", "*.test", "*.b.a.test", "*", "test", "x", "B.a.test"]
segment = st.sampled_from(
    ["a", "b", "ab", "a.b", ".", "..", "", "%61", "%2e%2E", "%2F", "a%2Fb", "c;d", "%5C", ".b", "*"]
)
raw_path = st.lists(segment, max_size=5).map(lambda s: ("/" + "/".join(s)).encode())
pattern_path = st.one_of(
    st.just("*"),
    st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "a*b", "%61", "a.b"]), min_size=1, max_size=4).map(
        lambda s: "/" + "/".join(s)
    ),
)
value = st.text("abc*", max_size=5).filter(lambda v: "**" not in v)
name = st.sampled_from(["X-A", "x-a", "Accept", "X-B"])
parameter = st.sampled_from(["a", "b", "a b"])
network = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:10.0.0.0/104", "unix"]
)
client = st.sampled_from(["10.1.2.3", "10.2.2.3", "192.0.2.1", "2001:db8::1", "::1", "::ffff:10.1.1.1", "unix"])
method = st.sampled_from(["GET", "POST", "PURGE", "get", "DELETE"])


def some(of: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.one_of(st.just(()), st.lists(of, min_size=1, max_size=2).map(tuple))


routes = st.lists(
    st.builds(
        Route,
        host=some(st.sampled_from(HOST_PATTERNS)),
        path=some(pattern_path),
        methods=some(method),
        headers=some(st.tuples(name, value)),
        query=some(st.tuples(parameter, value)),
        source=some(network),
    ),
    max_size=12,
)
requests = st.builds(
    Request,
    method=method,
    host=st.sampled_from(HOSTS),
    path=raw_path,
    query=st.lists(
        st.tuples(st.sampled_from(["a", "%61", "b", "a+b", "a%20b", ""]), st.text("abc", max_size=4)), max_size=3
    ).map(lambda q: "&".join("=".join(p) for p in q).encode()),
    headers=st.lists(st.tuples(name, st.text("abc", max_size=4)), max_size=3).map(tuple),
    client=client,
)


def ask(router: Router, request: Request) -> int | str | None:
    try:
        return router.find(request.head(), request.client)
    except ValueError:
        return "refused"


@settings(max_examples=400, deadline=None)
@given(routes, st.lists(requests, min_size=1, max_size=6))
def test_router_is_the_oracle(table: list[Route], asked: list[Request]) -> None:
    router = Router(table)
    for request in asked:
        assert ask(router, request) == oracle.first_match(table, request)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*b"/.%a;\\", b"%2F", b"%2e", b"%00", b"%5c", b"/..", b"/."]), max_size=24))
@example([b"/..", b"%2F"])
def test_plain_path_is_the_oracle(parts: list[int | bytes]) -> None:
    path = b"/" + b"".join(bytes([p]) if isinstance(p, int) else p for p in parts)
    assert plain(path) == oracle.plain(path)


@given(raw_path)
def test_plain_form_is_stable(path: bytes) -> None:
    """A plain path holds no dot segment and no double slash: normalizing its escaped form changes nothing."""
    once = plain(path)
    if once is not None:
        assert not {b".", b"..", b""} & set(once.split(b"/")[1:-1])
        assert plain(once.replace(b"%", b"%25")) in (once, None)


@settings(max_examples=300, deadline=None)
@given(pattern_path, st.text("ab/", max_size=12))
def test_path_globs_are_the_oracle(pattern: str, text: str) -> None:
    compiled = path_pattern(pattern)
    if compiled.kind.name == "GLOB":
        assert path_matches(compiled.text, b"/" + text.encode()) == oracle.path_matches(pattern, b"/" + text.encode())


@settings(max_examples=300, deadline=None)
@given(value, st.text("abc%2+", max_size=10), st.booleans())
def test_value_globs_are_the_oracle(pattern: str, text: str, encoded: bool) -> None:
    kind, compiled = value_pattern(pattern)
    if kind.name != "PRESENT":
        plain_text = oracle._decoded(text.encode()) if encoded else text.encode()
        assert value_matches(compiled, text.encode(), encoded) == oracle.value_matches(pattern, plain_text)
