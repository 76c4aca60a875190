"""Line numbers of keys: every form in which TOML can write them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.config.lines import KeyLines
from fastlb.config.paths import Path, dotted

FORMS = '''\
top = 1
a.b."c d".'e' = { x = 1, y = [1, 2], z = { w = "}" } }

[t] # comment
multi = """
[not.a.table]
key = 1 \\"""
"""
raw = \'\'\'
[[nor]] ''
\'\'\'
list = [
  1, # one
  [2, 3],

  { k = 4 }, "]",
]
date = 1979-05-27 07:32:00

[[t.many]]
n = 1
[t.many.sub]
s = 1
[[t.many.inner]]
[[t.many.inner]]
i = 1
[[t.many]]
n = 2
[t.many.sub]
s = 2
[ spaced . "out" ]
last = true'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 1),
        (("a",), 2),
        (("a", "b", "c d", "e"), 2),
        (("a", "b", "c d", "e", "z", "w"), 2),
        (("a", "b", "c d", "e", "y", 1), 2),
        (("t",), 4),
        (("t", "multi"), 5),
        (("t", "raw"), 9),
        (("t", "list"), 12),
        (("t", "list", 0), 13),
        (("t", "list", 1, 1), 14),
        (("t", "list", 2, "k"), 16),
        (("t", "list", 3), 16),
        (("t", "date"), 18),
        (("t", "many", 0), 20),
        (("t", "many", 0, "n"), 21),
        (("t", "many", 0, "sub", "s"), 23),
        (("t", "many", 0, "inner", 1, "i"), 26),
        (("t", "many", 1), 27),
        (("t", "many", 1, "n"), 28),
        (("t", "many", 1, "sub", "s"), 30),
        (("spaced", "out", "last"), 32),
        (("t", "many", 1, "missing"), 27),
        (("nowhere",), 0),
        ((), 0),
    ],
)
def test_lines(path: Path, line: int) -> None:
    tomllib.loads(FORMS)
    assert KeyLines(FORMS).of(path) == line


def test_windows_line_ends() -> None:
    lines = KeyLines("a = 1\r\n[b]\r\nc = 2\r\n")
    assert [lines.of(path) for path in (("a",), ("b",), ("b", "c"))] == [1, 2, 3]


def test_escaped_keys() -> None:
    assert KeyLines('\n"\\u00e9\\t\\"" = 1').of(('é\t"',)) == 2


@pytest.mark.parametrize("text", ["= 1", "[a", "a = [1", "a = {", '"', "\x00", "a = [" * 3000])
def test_broken_texts_give_no_line_and_no_error(text: str) -> None:
    assert KeyLines(text).of(("zzz",)) == 0


KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text(max_size=4))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def _string(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" if not c.isalnum() or ord(c) > 126 else c for c in text) + '"'


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[\n" + "".join(f"{_inline(item)},\n" for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_string(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    return str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_every_key_of_any_document_is_found(document: dict[str, Any]) -> None:
    text = "".join(f"{_string(key)} = {_inline(value)}\n# {dotted((key,))!r}\n" for key, value in document.items())
    assert tomllib.loads(text) == document
    lines = KeyLines(text)
    line = 1
    for key, value in document.items():
        assert lines.of((key,)) == line
        if isinstance(value, list):
            within = line + 1
            for index, item in enumerate(value):
                assert lines.of((key, index)) == within
                within += _inline(item).count("\n") + 1
        line += _inline(value).count("\n") + 2
