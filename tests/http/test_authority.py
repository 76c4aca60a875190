"""Host and port: RFC 9110 section 4.2, RFC 3986 section 3.2; IPv6 against the standard library."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlb.http import split_authority

VALID = [
    (b"", (b"", 0)),
    (b"a", (b"a", 0)),
    (b"a:", (b"a", 0)),
    (b"a:0", (b"a", 0)),
    (b"a:65535", (b"a", 65535)),
    (b"a:000000080", (b"a", 80)),
    (b"A.b-C_d~e", (b"A.b-C_d~e", 0)),
    (b"!$&'()*+;=", (b"!$&'()*+;=", 0)),
    (b"%41%fF:1", (b"%41%fF", 1)),
    (b"192.0.2.1:80", (b"192.0.2.1", 80)),
    (b"999.1", (b"999.1", 0)),  # a registered name, RFC 3986 section 3.2.2
    (b"[::]", (b"[::]", 0)),
    (b"[::1]:80", (b"[::1]", 80)),
    (b"[1:2:3:4:5:6:7:8]", (b"[1:2:3:4:5:6:7:8]", 0)),
    (b"[1:2:3:4:5:6:7::]", (b"[1:2:3:4:5:6:7::]", 0)),
    (b"[::ffff:192.0.2.1]", (b"[::ffff:192.0.2.1]", 0)),
    (b"[2001:DB8::a:B]:443", (b"[2001:DB8::a:B]", 443)),
]
INVALID = [
    b"a b", b"a,b", b"a/b", b"a@b", b"a\\b", b'a"', b"a<", b"a^", b"a`", b"a{", b"a|", b"a\x7f", b"a\x00", b"a\xff",
    b"%", b"%4", b"%4g", b"a%", b"a:b", b"a:1:2", b"a:65536", b"a:99999999999999999999", b"a: 1", b"a:+1", b"::1",
    b"[", b"]", b"[]", b"[::1", b"::1]", b"[::1]a", b"[::1]:x", b"a[::1]", b"[1]", b"[:1]", b"[1:]", b"[:::]",
    b"[1::2::3]", b"[1:2:3:4:5:6:7]", b"[1:2:3:4:5:6:7:8:9]", b"[1:2:3:4:5:6:7:8::]", b"[12345::]", b"[g::]",
    b"[::1%eth0]", b"[::1%25eth0]", b"[v1.a]", b"[192.0.2.1]", b"[::192.0.2]", b"[::192.0.2.256]", b"[::192.0.2.01]",
    b"[::192.0.2.1:1]", b"[1:2:3:4:5:6:7:192.0.2.1]", b"[::1.2.3.4.5]", b"[::.1.2.3]", b"[::1.2.3.]",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), VALID)
def test_valid(text: bytes, expected: tuple[bytes, int]) -> None:
    assert split_authority(text) == expected


@pytest.mark.parametrize("text", INVALID)
def test_invalid(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a host and port"):
        split_authority(text)


def accepted(text: bytes) -> bool:
    try:
        split_authority(text)
    except ValueError:
        return False
    return True


GROUP = st.sampled_from(["", "", "0", "1", "ff", "abcd", "12345", "g", "1.2.3.4", "1.2.3", "256.1.1.1"])


@settings(max_examples=500)
@given(st.lists(GROUP, min_size=1, max_size=10))
def test_ipv6_agrees_with_the_standard_library(groups: list[str]) -> None:
    text = ":".join(groups)
    try:
        ipaddress.IPv6Address(text)
        valid = True
    except ValueError:
        valid = False
    assert accepted(b"[" + text.encode() + b"]") == valid, text


@given(st.integers(0, (1 << 128) - 1), st.integers(0, 65535))
def test_every_ipv6_address_is_read(number: int, port: int) -> None:
    address = ipaddress.IPv6Address(number)
    for text in (address.compressed, address.exploded):
        host = b"[" + text.encode() + b"]"
        assert split_authority(host + b":%d" % port) == (host, port)
