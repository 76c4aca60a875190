"""A Spec that exists is right: what the configuration accepts, the engine takes without a complaint of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.balance import Balancer, Server, algorithms
from fastlb.config import check_file, check_mapping, syntax
from fastlb.config.models_backends import ALGORITHMS, HASH_METHODS
from fastlb.config.models_global import MAX_HEADER_COUNT
from fastlb.config.suggest import Invalid
from fastlb.config.types import MAX_WEIGHT
from fastlb.engine import patterns
from fastlb.engine.access_log import FORMATS
from fastlb.engine.rules import Redirect, Respond
from fastlb.http.header_rules import MANAGED, compile_chain
from fastlb.http.path_rewrite import PathRewriter
from fastlb.spec import HeaderRules, PathRewrite, Route, Spec

from .samples import EXAMPLES

PATHISH = st.text(st.sampled_from("/ab.*%20Ff?#é -\0"), max_size=10).map(lambda text: "/" + text)
HOSTISH = st.text(st.sampled_from("ab.-*:[]1_éA"), max_size=12)
TEXT = st.text(max_size=12)


def accepted(check: object, value: object) -> bool:
    assert callable(check)
    try:
        check(value)
    except Invalid:
        return False
    return True


@given(st.one_of(PATHISH, TEXT))
def test_paths(text: str) -> None:
    if accepted(syntax.path_pattern, text):
        patterns.path_pattern(syntax.path_pattern(text))
    if accepted(syntax.plain_path, text):
        PathRewriter(PathRewrite(strip_prefix=text, replace_prefix=(text, text)))
    if accepted(syntax.rewritten_path, text):
        PathRewriter(PathRewrite(set=text))


@given(st.one_of(HOSTISH, TEXT))
def test_hosts(text: str) -> None:
    if accepted(syntax.host_pattern, text):
        patterns.host_pattern(syntax.host_pattern(text))
    if accepted(syntax.host_header, text):
        compile_chain([HeaderRules(set=(("Host", text),))], request=True)


@given(st.one_of(TEXT, st.sampled_from(sorted(MANAGED)).map(str.title)), TEXT)
def test_header_rules(name: str, value: str) -> None:
    if accepted(syntax.ruled_header_name, name) and accepted(syntax.header_value, value) and name.lower() != "host":
        rules = HeaderRules(remove=(name,), set=((name, value),), add=((name, value),))
        compile_chain([rules], request=True)
        compile_chain([rules], request=False)
    if accepted(syntax.header_value, value):
        patterns.value_pattern(value)


@given(st.one_of(TEXT, st.text(st.sampled_from("{}hostpathurischeme:/.%é"), max_size=20)))
def test_locations(text: str) -> None:
    if accepted(syntax.location, text):
        Redirect(text)


@given(st.integers(200, 599), TEXT)
def test_answers(status: int, body: str) -> None:
    Respond(status, body)


@given(TEXT)
def test_conditions(text: str) -> None:
    if accepted(syntax.query_text, text):
        patterns.value_pattern(text)
    if accepted(syntax.method, text):
        patterns.token(text, "method")


def test_framing_headers_are_those_of_the_engine() -> None:
    assert syntax.FRAMING_HEADERS == MANAGED


def test_log_formats_are_those_of_the_engine() -> None:
    for name in FORMATS:
        configuration = {
            "log": {"format": name},
            "frontends": {"f": {"listen": ":1", "backend": "b"}},
            "backends": {"b": {"servers": "a:1"}},
        }
        assert check_mapping(configuration).spec is not None


def test_algorithms_are_those_of_the_balancing_core() -> None:
    assert set(ALGORITHMS) == set(algorithms())


SERVERS = [Server("10.0.0.1:80"), Server("10.0.0.2:80", weight=MAX_WEIGHT), Server("unix:/run/x", backup=True)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_balances(algorithm: str) -> None:
    options = {"panic_threshold": 1.0}
    if algorithm != "consistent_hash":
        assert Balancer(algorithm, SERVERS, **options).pick(b"key").address in {s.address for s in SERVERS}
        return
    for method in HASH_METHODS:
        assert Balancer(algorithm, SERVERS, method=method, bound=100, **options).pick(b"key") is not None


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_routes_of_the_examples_compile(path: object) -> None:
    from fastlb.engine.router import Router

    spec = check_file(str(path)).spec
    assert isinstance(spec, Spec)
    for frontend in spec.frontends:
        assert len(Router(frontend.routes)) == len(frontend.routes)
        assert all(isinstance(route, Route) for route in frontend.routes)
    assert max(frontend.limits.header_count for frontend in spec.frontends) <= MAX_HEADER_COUNT
