"""Whatever a configuration holds, there is a Spec or a list of problems, and never an exception."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.config import check_bytes, check_mapping, check_text
from fastlb.config.unknown import _places

from .samples import texts
from .test_reading import ARCHITECTURE

KEYS = st.sampled_from(sorted(_places()))
WORDS = st.sampled_from(
    ["", ":80", "10.0.0.1:80", "unix:/x", "app", "/a/*", "3s", "16KB", "50%", "GET", "consistent_hash", "header:X", "*"]
)
LEAVES = st.one_of(
    WORDS, st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYS, WORDS, st.integers()), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(["web", "app", "a b"])


def consistent(configuration: Any) -> None:
    report = check_mapping(configuration)
    assert (report.spec is None) == bool(report.errors)
    for text in texts(report):
        assert text.isprintable(), text
    for problem in report.errors:
        assert problem.severity == "error"
        assert problem.reason


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_mapping(configuration: dict[str, Any]) -> None:
    consistent(configuration)


@given(
    st.dictionaries(NAMES, st.dictionaries(KEYS, VALUES, max_size=6), max_size=2),
    st.dictionaries(NAMES, st.dictionaries(KEYS, VALUES, max_size=6), max_size=2),
)
def test_any_frontends_and_backends(frontends: dict[str, Any], backends: dict[str, Any]) -> None:
    consistent({"frontends": frontends, "backends": backends})


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    report = check_bytes(ARCHITECTURE.encode()[:400] + data)
    assert (report.spec is None) == bool(report.errors)
    for text in texts(report):
        assert text.isprintable()


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key, item in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        found += places(item, (*path, key))
    return found


GOOD: dict[str, Any] = {
    "frontends": {
        "web": {
            "listen": [":80", {"address": ":81"}],
            "backend": "app",
            "routes": [{"path": "/a", "backend": "app"}, {"host": "x", "redirect": {"location": "/b"}}],
            "request_headers": {"set": {"A": "1"}},
        }
    },
    "backends": {"app": {"servers": ["a:1", {"address": "b:1"}], "balance": {"algorithm": "random"}}},
}


@pytest.mark.parametrize("path", places(GOOD), ids=str)
def test_one_wrong_value_is_one_problem(path: tuple[Any, ...]) -> None:
    """Nothing that follows from it is reported as well, and nothing else is hidden: an unknown key beside it shows."""
    configuration = copy.deepcopy(GOOD)
    node = configuration
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = b"wrong"
    configuration["zzz"] = 1
    report = check_mapping(configuration)
    keys = {problem.key for problem in report.errors}
    assert len(report.errors) == 2, texts(report)
    assert "zzz" in keys
    assert not report.warnings, texts(report)


def test_large_configurations_are_read_in_time() -> None:
    """Ten thousand servers and five thousand routes; all quadratic work would take minutes."""
    routes = [{"host": f"h{i // 5}.example", "path": f"/{i}/*", "backend": f"b{i % 10}"} for i in range(5000)]
    backends = {f"b{b}": {"servers": [f"10.{b}.{i // 250}.{i % 250}:80" for i in range(1000)]} for b in range(10)}
    start = time.process_time()
    report = check_mapping({"frontends": {"web": {"listen": ":80", "routes": routes}}, "backends": backends})
    assert report.spec is not None
    assert check_mapping({"backends": {"b": {"servers": ["x"] * 10000}}}).spec is None
    assert time.process_time() - start < 20


def test_a_text_and_its_mapping_agree() -> None:
    import tomllib

    text = check_text(ARCHITECTURE)
    mapping = check_mapping(tomllib.loads(ARCHITECTURE))
    assert [(p.key, p.reason) for p in text.errors] == [(p.key, p.reason) for p in mapping.errors]
