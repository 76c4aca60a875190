"""Lines that are added to heads at run time: whatever they come from, they stay lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.engine.extras import dressed

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
BODY = b"\r\n\r\n!"


def test_lines_go_before_the_empty_line_of_the_head() -> None:
    made = dressed(ANSWER + BODY, [(b"WWW-Authenticate", b'Basic realm="a"'), (b"X-Empty", b"")])
    assert made == ANSWER[:-2] + b'WWW-Authenticate: Basic realm="a"\r\nX-Empty: \r\n\r\n' + BODY
    assert dressed(ANSWER, [(b"X", b"1")], request=True) == ANSWER[:-2] + b"X: 1\r\n\r\n"
    assert dressed(ANSWER, []) == ANSWER


@pytest.mark.parametrize("value", [b"a\r\nX: b", b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"\x1b[0m"])
def test_a_value_that_would_be_more_than_one_line_is_refused(value: bytes) -> None:
    assert dressed(ANSWER, [(b"X-User", value)]) is None
    assert dressed(ANSWER, [(b"X-User", value)], request=True) is None


@pytest.mark.parametrize("name", [b"", b"X User", b"X:", b"X\r\nY", b"\xc3\xa4"])
def test_a_name_that_is_none_is_refused(name: bytes) -> None:
    assert dressed(ANSWER, [(name, b"1")]) is None


def test_lines_that_do_not_fit_are_left_out_of_answers_and_refused_for_servers() -> None:
    big = [(b"X", b"a" * 65536)]
    assert dressed(ANSWER, big) == ANSWER
    assert dressed(ANSWER, big, request=True) is None


@given(st.lists(st.tuples(st.from_regex(rb"[A-Za-z-]{1,20}", fullmatch=True), st.binary(max_size=200)), max_size=20))
def test_whatever_is_added_the_head_has_as_many_lines_more(lines: list[tuple[bytes, bytes]]) -> None:
    made = dressed(ANSWER, lines)
    plain = all((byte >= 32 and byte != 127) or byte == 9 for _, value in lines for byte in value)
    assert (made is not None) == plain
    if made is not None:
        head, _, rest = made.partition(b"\r\n\r\n")
        assert not rest
        assert len(head.split(b"\r\n")) == 2 + len(lines)
        assert made.count(b"\n") == made.count(b"\r") == 3 + len(lines)
