"""Networks and the text of addresses, against the standard library."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.engine.networks import Networks, address_text

v4 = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
# groups that are zero half of the time: the interesting part of the text form is where '::' goes
v6 = st.lists(st.one_of(st.just(0), st.integers(0, 0xFFFF)), min_size=8, max_size=8).map(
    lambda groups: str(ipaddress.IPv6Address(b"".join(g.to_bytes(2, "big") for g in groups)))
)
near4 = st.integers(0, 1023).map(lambda n: str(ipaddress.IPv4Address(0x0A000000 + n)))
near6 = st.integers(0, 1023).map(lambda n: str(ipaddress.IPv6Address((0x20010DB8 << 96) + (n << 62))))
network = st.one_of(
    st.tuples(near4, st.integers(20, 32)).map(lambda p: f"{p[0]}/{p[1]}"),
    st.tuples(near6, st.integers(52, 128)).map(lambda p: f"{p[0]}/{p[1]}"),
    near4,
    near6,
)


def canonical(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


@given(st.lists(network, max_size=12), st.lists(st.one_of(near4, near6, v4, v6), min_size=1, max_size=8))
def test_membership_is_the_standard_librarys(networks: list[str], addresses: list[str]) -> None:
    ours = Networks(networks)
    theirs = [ipaddress.ip_network(n, strict=False) for n in networks]
    for text in addresses:
        assert (text in ours) == any(canonical(text) in n for n in theirs)


@given(st.one_of(v4, v6))
def test_text_is_the_standard_librarys(text: str) -> None:
    assert address_text(text) == str(canonical(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("10.20.3.100", "10.20.3.100"),
        ("::", "::"),
        ("::1", "::1"),
        ("1::", "1::"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::fffe:192.0.2.1", "::fffe:c000:201"),
        ("unix", ""),
    ],
)
def test_text(text: str, expected: str) -> None:
    assert address_text(text) == expected


def test_joined_networks_count_once() -> None:
    assert len(Networks(["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "11.0.0.0/8"])) == 1
    assert len(Networks([])) == 0 and "10.0.0.1" not in Networks([])


def test_families_are_apart() -> None:
    assert "10.0.0.1" not in Networks(["::/0"])
    assert "::1" in Networks(["::/0"])
    assert "::1" not in Networks(["0.0.0.0/0"])
    assert "255.255.255.255" in Networks(["0.0.0.0/0"])
    assert "::ffff:10.0.0.1" in Networks(["10.0.0.0/8"])
    assert "10.0.0.1" in Networks(["::ffff:10.0.0.0/104"])


def test_unix_sockets() -> None:
    assert "unix" in Networks(["10.0.0.0/8", "unix"])
    assert "unix" in Networks(["unix:"])
    assert "unix" not in Networks(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0", "example.com", "::1/129"])
def test_wrong_networks(text: str) -> None:
    with pytest.raises(ValueError):
        Networks([text])
