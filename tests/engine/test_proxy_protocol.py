"""PROXY headers: what is read, what is refused, what is written. The same at every cut."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.engine.proxy_protocol import compose, parse
from tests.oracle.proxy_protocol import Read, crc32c, read

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([1, 2, 3, 4, 5, 6, 7, 8]) + struct.pack(">HH", 1000, 443)


def v2(body: bytes = FOUR, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def verdict(data: bytes) -> Read | str | None:
    try:
        got = parse(data)
    except ValueError:
        return "bad"
    return None if got is None else Read(**got)


GOOD = [
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
    b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
    b"PROXY TCP6 ::1 2001:db8::8:800:200c:417a 1 2\r\n",
    b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
    b"PROXY TCP6 ::ffff:1.2.3.4 :: 1 2\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN anything \0 goes \xff\r\n",
    b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n",
    v2(),
    v2(bytes(range(36)), 0x21),
    v2(bytes(216), 0x31),
    v2(b"", 0x00),
    v2(b"", 0x00, 0x20),
    v2(b"\xff", 0x11, 0x20),
    v2(FOUR + tlv(5, b"id-1") + tlv(2, b"a.example") + tlv(1, b"h2") + tlv(0xEE, b"")),
    v2(FOUR + tlv(0x20, b"\1" + bytes(4) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"name"))),
    compose(2, ("1.2.3.4", 5), ("6.7.8.9", 10), crc32c=True),
    compose(2, ("::1", 5), ("::2", 10), unique_id=b"u" * 32, authority=b"x.test", alpn=b"h2", ssl="TLSv1.2"),
    compose(1, ("1.2.3.4", 5), ("6.7.8.9", 10)),
]
BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n",
    b"PROXY TCP4 ::1 ::2 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP6 ::1%lo ::2 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 92,
    v2(command=0x11),
    v2(command=0x22),
    v2(family=0x12),
    v2(family=0x22),
    v2(family=0x41),
    v2(FOUR[:-1]),
    v2(FOUR, 0x21),
    v2(FOUR + b"\5\0"),
    v2(FOUR + b"\5\0\2a"),
    v2(FOUR + tlv(5, b"x" * 129)),
    v2(FOUR + tlv(3, b"\0\0\0\0")),
    v2(FOUR + tlv(3, b"\0\0\0")),
    v2(FOUR + tlv(0x20, b"\1\0\0\0")),
    v2(FOUR + tlv(0x20, b"\1\0\0\0\0\x21\0\7TLS")),
    v2(FOUR + bytes(8200)),
    SIGNATURE[:-1] + b"!",
    b"\r\n\r\nX",
]


@pytest.mark.parametrize("data", GOOD)
def test_good_headers_at_every_cut(data: bytes) -> None:
    expected = read(data)
    assert isinstance(expected, Read)
    assert expected.length == len(data)
    for cut in range(len(data)):
        assert verdict(data[:cut]) is None, cut
    for tail in (b"", b"GET / HTTP/1.1\r\n", data):
        assert verdict(data + tail) == expected


@pytest.mark.parametrize("data", BAD)
def test_bad_headers_at_every_cut(data: bytes) -> None:
    """None is ever complete, and once bad it stays so."""
    assert read(data) == "bad"
    verdicts = [verdict(data[:cut]) for cut in range(len(data) + 1)]
    assert verdicts[-1] == "bad"
    first = verdicts.index("bad")
    assert set(verdicts[:first]) <= {None}
    assert set(verdicts[first:]) == {"bad"}


ADDRESSES = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
ENDS = st.tuples(ADDRESSES, st.integers(0, 65535))


def plain(end: tuple[str, int] | None) -> tuple[IPv4Address | IPv6Address, int] | None:
    """The same whichever way an IPv6 address is written: '::ffff:0:0' is '::ffff:0.0.0.0' for inet_ntop."""
    return end and (ip_address(end[0]), end[1])


@given(ENDS, ENDS, st.booleans(), st.binary(max_size=128), st.binary(max_size=255))
def test_what_is_written_is_read(
    source: tuple[str, int], target: tuple[str, int], checked: bool, unique: bytes, name: bytes
) -> None:
    same = (":" in source[0]) == (":" in target[0])
    ends = (plain(source), plain(target)) if same else (None, None)
    for version in (1, 2):
        data = compose(version, source, target, unique_id=unique, authority=name, crc32c=checked)
        got = read(data)
        assert isinstance(got, Read)
        assert got == verdict(data)
        assert (got.version, got.length, plain(got.source), plain(got.destination)) == (version, len(data), *ends)
        if version == 2:
            assert (got.unique_id, got.authority) == (unique, name)


def test_the_checksum_is_that_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # check value of CRC-32C
    data = bytearray(compose(2, ("1.2.3.4", 5), ("6.7.8.9", 10), crc32c=True))
    for at in (*range(16, len(data) - 7), *range(len(data) - 4, len(data))):
        data[at] ^= 1
        assert verdict(bytes(data)) == "bad", at
        data[at] ^= 1


def test_peers_without_an_address() -> None:
    assert compose(1) == b"PROXY UNKNOWN\r\n"
    assert verdict(compose(2)) == Read(2, 16, None, None)
