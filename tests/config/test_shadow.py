"""Routes that cannot match: the judgement on single patterns, and that what is called swallowed really is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlb import spec
from fastlb.config.models_frontends import RouteTable
from fastlb.config.shadow import host_covers, path_covers, swallowed, swallows
from fastlb.engine.router import Router


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("/*", "/a", True),
        ("/*", "/", True),
        ("/*", "/a/*/c", True),
        ("/a/*", "/a", True),
        ("/a/*", "/a/", True),
        ("/a/*", "/a/b/*", True),
        ("/a/*", "/ab", False),
        ("/a/*", "/*", False),
        ("/a", "/a/*", False),
        ("/a", "/a", True),
        ("/img/*.png", "/img/x.png", True),
        ("/img/*.png", "/img/x.gif", False),
        ("/img/*.png", "/img/*.gif", False),
        ("/img/*.png", "/img/a/x.png", False),
        ("/a*", "/ab", True),
        ("/a*", "/a/b/c", True),
        ("/*/b/*", "/a/b/c/d", True),
        ("/a.b*", "/aXb", False),
        ("/a/*", "/*/b", False),
    ],
)
def test_paths(wide: str, narrow: str, covered: bool) -> None:
    assert path_covers(wide, narrow) is covered


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("a.example", "a.example", True),
        ("*.example", "a.example", True),
        ("*.example", "*.a.example", True),
        ("*.example", "example", False),
        ("*.a.example", "*.example", False),
        ("a.example", "b.example", False),
    ],
)
def test_hosts(wide: str, narrow: str, covered: bool) -> None:
    assert host_covers(wide, narrow) is covered


def route(**keys: Any) -> RouteTable:
    return RouteTable.model_validate({"backend": "b", **keys})


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {"path": "/a"}, True),
        ({"path": "/a"}, {}, False),
        ({"methods": ["GET", "HEAD"]}, {"methods": "GET"}, True),
        ({"methods": "GET"}, {"methods": ["GET", "HEAD"]}, False),
        ({"methods": "GET"}, {}, False),
        ({"host": ["a.x", "b.x"]}, {"host": ["b.x", "a.x"]}, True),
        ({"host": "a.x"}, {"host": ["b.x", "a.x"]}, False),
        ({"headers": {"X-A": "*"}}, {"headers": {"x-a": "1", "b": "2"}}, True),
        ({"headers": {"X-A": "1"}}, {"headers": {"X-A": "*"}}, False),
        ({"headers": {"X-A": "1"}}, {}, False),
        ({"query": {"q": "1"}}, {"query": {"q": "1"}, "path": "/a"}, True),
        ({"query": {"q": "1"}}, {"query": {"Q": "1"}}, False),
        ({"source": "10.0.0.0/8"}, {"source": ["10.1.0.0/16", "10.2.3.4"]}, True),
        ({"source": "10.0.0.0/8"}, {"source": ["10.1.0.0/16", "::1"]}, False),
        ({"source": "::/0"}, {"source": "10.0.0.0/8"}, False),
    ],
)
def test_routes(first: dict[str, Any], second: dict[str, Any], expected: bool) -> None:
    assert swallows(route(**first), route(**second)) is expected


def test_the_first_that_swallows_is_named_over_all_kinds_of_hosts() -> None:
    routes = [
        route(host="a.x", path="/p/*"),
        route(host="*.x", path="/q/*"),
        route(host="a.x", path="/p/1"),
        route(host=["a.x", "b.x"], path="/q/1"),
        route(host="b.x", path="/p/1"),
        route(path="/r"),
        route(host="*.y", path="/r"),
    ]
    assert list(swallowed(routes)) == [(2, 0), (3, 1), (6, 5)]


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "*b"]), min_size=1, max_size=3)
PATTERNS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ba"]), max_size=4).map(lambda segments: "/" + "/".join(segments))


def matches(pattern: str, path: str) -> bool:
    """By the engine's own matcher."""
    return (
        Router([spec.Route(path=(pattern,), backend="b")]).find(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == 0
    )


@settings(max_examples=400)
@given(PATTERNS, PATTERNS, PATHS)
def test_what_a_covered_pattern_matches_the_wider_one_matches(wide: str, narrow: str, path: str) -> None:
    if path_covers(wide, narrow) and matches(narrow, path):
        assert matches(wide, path)
