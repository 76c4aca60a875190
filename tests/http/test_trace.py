"""traceparent and tracestate on their way through, by the W3C's Trace Context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.http.rewrite import RequestPlan
from fastlb.spec import Forwarded, HeaderRules

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"
OURS = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])\Z")
PLAN = RequestPlan((), Forwarded(traceparent=True))


def sent(*fields: tuple[str, str], plan: RequestPlan = PLAN, **options: object) -> dict[str, list[str]]:
    """The fields a server gets for a request with these, by lower-case name."""
    head = "GET / HTTP/1.1\r\nHost: a\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    out = plan.apply(head.encode("latin-1"), client="192.0.2.1", **options).decode("latin-1")  # type: ignore[arg-type]
    found: dict[str, list[str]] = {}
    for line in out.split("\r\n")[1:-2]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


def test_a_valid_one_goes_through_as_it_came() -> None:
    got = sent(("TraceParent", VALID), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert got["traceparent"] == [VALID]
    assert got["tracestate"] == ["a=1", "b=2"]


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"01-{TRACE}-{SPAN}-01",  # a version of the future, exactly as long
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-01-",
        f"fe-{'0' * 31}1-{'0' * 15}1-00",
    ],
)
def test_valid(value: str) -> None:
    assert sent(("traceparent", value))["traceparent"] == [value]


INVALID = [
    "",
    "x",
    VALID[:-1],
    VALID + "0",
    VALID + "-",
    VALID + "-what",  # version 00 has nothing behind its flags
    f"cc-{TRACE}-{SPAN}-01.what",  # no dash behind the flags
    f"cc-{TRACE}-{SPAN}-010",
    f"ff-{TRACE}-{SPAN}-01",
    f"FF-{TRACE}-{SPAN}-01",
    f"0-{TRACE}-{SPAN}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE}-{SPAN.upper()}-01",
    f"00-{TRACE}-{SPAN}-0A",
    f"0A-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}g-{SPAN}-01",
    f"00-{TRACE[:-1]}/-{SPAN}-01",
    f"00-{TRACE[:-1]}:-{SPAN}-01",
    f"00-{TRACE[:-1]}`-{SPAN}-01",
    f"00-{TRACE[:-1]}\xb0-{SPAN}-01",
    f"00-{TRACE}-{SPAN[:-1]}.-01",
    f"00-{TRACE}-{SPAN}-.1",
    f"00-{TRACE}-{SPAN}-1.",
    f"00_{TRACE}-{SPAN}-01",
    f"00-{TRACE}_{SPAN}-01",
    f"00-{TRACE}-{SPAN}_01",
    f"00-{TRACE[:-1]}-{SPAN}0-01",
]


@pytest.mark.parametrize("value", INVALID)
def test_a_trace_begins_in_place_of_an_invalid_one(value: str) -> None:
    got = sent(("tracestate", "a=1"), ("traceparent", value), ("X", "y"), ("TRACESTATE", "b=2"))
    (made,) = got["traceparent"]
    match = OURS.match(made)
    assert match and match[1] != "0" * 32 and match[2] != "0" * 16 and match[3] == "01"
    assert match[1] != TRACE
    assert "tracestate" not in got  # it belongs to another trace
    assert got["x"] == ["y"] and got["host"] == ["a"]


def test_two_are_none() -> None:
    got = sent(("traceparent", VALID), ("Traceparent", VALID), ("tracestate", "a=1"))
    (made,) = got["traceparent"]
    assert made != VALID and OURS.match(made) and "tracestate" not in got


def test_connection_cannot_take_it_away() -> None:
    got = sent(("Connection", "traceparent"), ("traceparent", VALID), ("tracestate", "a=1"))
    assert got["traceparent"] == [VALID] and got["tracestate"] == ["a=1"]


def test_begun_without_any() -> None:
    ident = "0123456789abcdef00000000000000ff"
    assert sent(trace_id=ident)["traceparent"] == [f"00-{ident}-00000000000000ff-01"]
    assert sent(trace_id=ident, sampled=False)["traceparent"] == [f"00-{ident}-00000000000000ff-00"]
    assert sent()["traceparent"] != sent()["traceparent"]


@pytest.mark.parametrize("flags", [f"{n:02x}" for n in range(256)])
def test_own_spans_go_in_between(flags: str) -> None:
    ident = "0123456789abcdef00000000000000ff"
    for version in ("00", "7b"):
        got = sent(
            ("traceparent", f"{version}-{TRACE}-{SPAN}-{flags}"), ("tracestate", "a=1"), trace_id=ident, spans=True
        )  # fmt: skip
        # version 00 and of the flags the one that is known
        assert got["traceparent"] == [f"00-{TRACE}-00000000000000ff-0{int(flags, 16) & 1}"]
        assert got["tracestate"] == ["a=1"]


def test_off_touches_nothing() -> None:
    off = RequestPlan((), Forwarded())
    for value in (VALID, "nonsense"):
        got = sent(("traceparent", value), ("tracestate", "a=1"), plan=off)
        assert got["traceparent"] == [value] and got["tracestate"] == ["a=1"]
    assert "traceparent" not in sent(plan=off)


def test_rules_win() -> None:
    removed = RequestPlan([HeaderRules(remove=("traceparent",))], Forwarded(traceparent=True))
    assert "traceparent" not in sent(("traceparent", VALID), plan=removed)
    assert "traceparent" not in sent(plan=removed)
    fixed = RequestPlan([HeaderRules(set=(("Traceparent", "mine"),))], Forwarded(traceparent=True))
    assert sent(("traceparent", VALID), plan=fixed)["traceparent"] == ["mine"]


def test_with_all_the_others() -> None:
    every = RequestPlan((), Forwarded(True, True, True, True, True, True, True))
    got = sent(plan=every, port=8080, request_id="r" * 32)
    assert set(got) == {
        "host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded",
        "x-request-id", "traceparent",
    }  # fmt: skip


REFERENCE = re.compile(
    r"(?!ff)(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"|(?!00)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?)\Z"
)
NEAR = st.builds(
    lambda base, at, ch: base[:at] + ch + base[at + 1 :],
    st.sampled_from([VALID, f"cc-{TRACE}-{SPAN}-01-x", f"00-{'0' * 31}1-{'0' * 15}1-00"]),
    st.integers(0, 58),
    st.characters(min_codepoint=0x21, max_codepoint=0x7E).map(str) | st.sampled_from(["", "\xe9", "\x80", "\xff"]),
)


@given(NEAR)
def test_like_the_grammar(value: str) -> None:
    got = sent(("traceparent", value))["traceparent"]
    assert (got == [value]) == bool(REFERENCE.match(value)), value
