"""Single values: canonical forms, and suggestions that would themselves be taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.config import syntax, units
from fastlb.config.suggest import ALGORITHM_ALIASES, Invalid, listed, nearest, verified


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (syntax.network, "10.0.0.0/8", "10.0.0.0/8"),
        (syntax.network, " 10.0.0.1 ", "10.0.0.1/32"),
        (syntax.network, "2001:DB8::/32", "2001:db8::/32"),
        (syntax.host_pattern, "API.Example.com.", "api.example.com"),
        (syntax.host_pattern, "*.Example.com", "*.example.com"),
        (syntax.host_pattern, "10.0.0.1", "10.0.0.1"),
        (syntax.host_pattern, "[2001:DB8::1]", "[2001:db8::1]"),
        (syntax.check_host, "", ""),
        (syntax.check_host, "example.com:8080", "example.com:8080"),
        (syntax.check_host, "[::1]:80", "[::1]:80"),
        (syntax.method, "PURGE", "PURGE"),
        (syntax.hash_key, "header:X-User", "header:X-User"),
        (syntax.hash_key, "query:a b".replace(" ", "_"), "query:a_b"),
        (syntax.access_log, "syslog:udp://10.0.0.1", "syslog:udp://10.0.0.1:514"),
        (syntax.access_log, "syslog:udp://[::1]", "syslog:udp://[::1]:514"),
        (syntax.access_log, "syslog:udp://log.internal:5140", "syslog:udp://log.internal:5140"),
        (syntax.access_log, "syslog:unix:/dev/log", "syslog:unix:/dev/log"),
        (syntax.access_log, "access.log", "access.log"),
        (syntax.access_log, "off", "off"),
        (syntax.status_range, 204, (204, 204)),
        (syntax.status_range, "200 - 299", (200, 299)),
        (syntax.status_range, "2XX", (200, 299)),
        (syntax.location, "/start", "/start"),
        (syntax.location, "{scheme}://www.{host}{uri}", "{scheme}://www.{host}{uri}"),
        (syntax.location, "{path}?{query}", "{path}?{query}"),
    ],
)
def test_canonical_forms(check: Callable[[object], object], value: object, expected: object) -> None:
    assert check(value) == expected


@pytest.mark.parametrize(
    ("check", "value", "reason", "suggestion"),
    [
        (syntax.access_log, "stdot", "must be stdout, stderr, off, a file", "stdout"),
        (syntax.access_log, "none", "must be stdout, stderr, off, a file", "off"),
        (syntax.access_log, "syslog", "must be stdout, stderr, off, a file", "syslog:unix:/dev/log"),
        (syntax.access_log, "", "must be stdout, stderr, off, a file", ""),
        (syntax.access_log, "syslog:/dev/log", "a syslog target is", "syslog:unix:/dev/log"),
        (syntax.access_log, "syslog:tcp://a:1", "a syslog target is", ""),
        (syntax.access_log, "syslog:udp://a:0", "the port must be a number", ""),
        (syntax.access_log, "udp://10.0.0.1:514", "not a log target", "syslog:udp://10.0.0.1:514"),
        (syntax.access_log, 3, "must be stdout, stderr, off, a file or a syslog target", ""),
        (syntax.hash_key, "header", "the name is missing: header:NAME", ""),
        (syntax.hash_key, "ip:x", "ip takes no name", "ip"),
        (syntax.hash_key, "hdr:X-User", "must be ip, path, uri,", "header:X-User"),
        (syntax.hash_key, "cookies:sid", "must be ip, path, uri,", "cookie:sid"),
        (syntax.hash_key, "header:X User", "not a valid header name", ""),
        (syntax.hash_key, "source", "must be ip, path, uri,", "ip"),
        (syntax.status_range, "299-200", "a range goes from the lower", "200-299"),
        (syntax.status_range, 600, "a status is from 100 to 599", ""),
        (syntax.status_range, True, "must be a status or a range", ""),
        (syntax.name, "two words", "a name has 1 to 64 letters", "two_words"),
        (syntax.name, "", "a name has 1 to 64 letters", ""),
        (syntax.name, "x" * 65, "a name has 1 to 64 letters", "x" * 64),
        (syntax.location, "www.example.com", "a location is a URL", "https://www.example.com"),
        (syntax.location, "https://a/{", "a placeholder is a name in braces", ""),
        (syntax.location, "javascript:alert(1)", "a location is a URL", ""),
        (syntax.network, "10.0.0.1/8", "the address has bits outside", "10.0.0.0/8"),
        (syntax.host_header, "*.example.com", "no pattern here", ""),
    ],
)
def test_refusals(check: Callable[[object], object], value: object, reason: str, suggestion: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(value)
    assert caught.value.reason.startswith(reason)
    assert caught.value.nearest == suggestion


CHECKS = [
    syntax.name, syntax.header_name, syntax.header_value, syntax.method, syntax.network, syntax.host_pattern,
    syntax.host_header, syntax.path_pattern, syntax.plain_path, syntax.rewritten_path, syntax.check_path,
    syntax.location, syntax.hash_key, syntax.access_log, syntax.status_range, syntax.query_text, units.duration,
    units.size, units.percent,
]  # fmt: skip
ANYTHING = st.one_of(
    st.text(max_size=12),
    st.text(st.sampled_from("ab/.:*-_%0123456789?# {}syslogudpunixheader"), max_size=16),
    st.integers(-1000, 1000),
    st.floats(),
    st.booleans(),
    st.none(),
)


@given(st.sampled_from(CHECKS), ANYTHING)
def test_values_are_taken_or_refused_with_a_reason_and_a_valid_suggestion(
    check: Callable[[object], object], value: object
) -> None:
    try:
        found = check(value)
    except Invalid as error:
        assert error.reason
        if error.nearest:
            check(error.nearest)
    else:
        if isinstance(found, str):
            assert check(found) == found  # canonical


def test_a_suggestion_that_would_be_refused_is_dropped() -> None:
    @verified
    def never(value: object) -> str:
        raise Invalid("no", "maybe")

    with pytest.raises(Invalid) as caught:
        never("x")
    assert (caught.value.reason, caught.value.nearest) == ("no", "")


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("backned", ["backend", "listen"], "backend"),
        ("server", ["servers"], "servers"),
        ("Max-Connections", ["max_connections"], "max_connections"),
        ("p2c", ["two_choices"], "two_choices"),
        ("p2c", ["random"], ""),
        ("zzz", ["backend", "listen"], ""),
        ("", ["a"], ""),
        ("x" * 10_000, ["xxx"], ""),
    ],
)
def test_nearest(word: str, choices: list[str], expected: str) -> None:
    assert nearest(word, choices, ALGORITHM_ALIASES) == expected


def test_lists_in_words() -> None:
    assert [listed(n) for n in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]
