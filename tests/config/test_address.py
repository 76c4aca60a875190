"""Addresses as text: canonical forms, reasons and suggestions, and that `str` of an address is read back."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlb.config.address import parse_listen, parse_server
from fastlb.config.suggest import Invalid
from fastlb.spec import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":80", Address("", 80)),
        ("*:80", Address("", 80)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::]:443", Address("::", 443)),
        ("[0:0:0:0:0:0:0:1]:8080", Address("::1", 8080)),
        ("LocalHost:80", Address("localhost", 80)),
        ("unix:/run/web.sock", Address(path="/run/web.sock")),
        ("unix:@web", Address(path="@web")),
        (" :80 ", Address("", 80)),
    ],
)
def test_listeners(text: str, address: Address) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:8080", Address("10.0.0.1", 8080)),
        ("web-1.internal:80", Address("web-1.internal", 80)),
        ("my_service:80", Address("my_service", 80)),
        ("[2001:DB8::1]:80", Address("2001:db8::1", 80)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
    ],
)
def test_servers(text: str, address: Address) -> None:
    assert parse_server(text) == address


@pytest.mark.parametrize(
    ("value", "reason", "nearest"),
    [
        (80, 'must be an address in quotes, such as "10.0.0.1:8080"', "10.0.0.1:80"),
        (None, 'must be an address, such as "10.0.0.1:8080"', ""),
        ("", 'is empty; an address looks like "10.0.0.1:8080"', ""),
        (":80", "the address of a server needs a host", "127.0.0.1:80"),
        ("*:80", "the address of a server needs a host", "127.0.0.1:80"),
        ("host", 'the port is missing; an address looks like "10.0.0.1:8080"', "host:80"),
        ("8080", 'must be an address with a port, such as "10.0.0.1:8080"', "10.0.0.1:8080"),
        ("host:0", "the port must be a number from 1 to 65535", ""),
        ("host:65536", "the port must be a number from 1 to 65535", ""),
        ("host:http", "the port must be a number from 1 to 65535", "host:80"),
        ("host:", "the port must be a number from 1 to 65535", ""),
        ("host:８０", "the port must be a number from 1 to 65535", ""),
        ("10.0.0.256:80", "not a valid IPv4 address", ""),
        ("10.0.0:80", "not a valid IPv4 address", ""),
        ("010.0.0.1:80", "not a valid IPv4 address", ""),
        ("[::g]:80", "not a valid IPv6 address", ""),
        ("::1:80", 'an IPv6 address is written "[address]:port"', "[::1]:80"),
        ("[::1]", 'an IPv6 address is written "[address]:port"', ""),
        ("[::1]80", 'an IPv6 address is written "[address]:port"', ""),
        ("[host]:80", "only an IPv6 address stands in brackets", "host:80"),
        ("http://host:80/x", "an address has no scheme and no path", "host:80"),
        ("https://host", "an address has no scheme and no path", "host:443"),
        ("-host:80", "not a valid host name", ""),
        ("a..b:80", "not a valid host name", ""),
        ("a b:80", "not a valid host name", ""),
        ("bücher.example:80", "not a valid host name", "xn--bcher-kva.example:80"),
        ("/run/app.sock", 'a Unix socket is written "unix:/path"', "unix:/run/app.sock"),
        ("unix:///run/app.sock", 'a Unix socket is written "unix:/path"', "unix:/run/app.sock"),
        ("unix:run/app.sock", "the path of a Unix socket must be absolute", "unix:/run/app.sock"),
        ("unix:", "the path of a Unix socket must be absolute", ""),
        ("unix:/" + "x" * 107, "the path of a Unix socket has at most 107 bytes", ""),
        ("unix:/a\nb", "the path of a Unix socket has a control character", ""),
    ],
)
def test_wrong_servers(value: object, reason: str, nearest: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_server(value)
    assert (caught.value.reason, caught.value.nearest) == (reason, nearest)


@pytest.mark.parametrize(
    ("value", "reason", "nearest"),
    [
        (80, 'must be an address in quotes, such as ":80"', ":80"),
        ("80", 'must be an address with a port, such as ":80"', ":80"),
        (":99999", "the port must be a number from 0 to 65535", ""),
        ("localhost", 'the port is missing; an address looks like ":80"', "localhost:80"),
    ],
)
def test_wrong_listeners(value: object, reason: str, nearest: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_listen(value)
    assert (caught.value.reason, caught.value.nearest) == (reason, nearest)


LABEL = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True)
HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
)


@given(HOSTS, st.integers(1, 65535))
def test_text_of_an_address_is_read_back(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_server(str(address)) == address
    assert parse_listen(str(address)) == address


@given(st.ip_addresses(v=6), st.integers(1, 65535))
def test_any_spelling_of_ipv6_is_one_address(ip: ipaddress.IPv6Address, port: int) -> None:
    assert parse_server(f"[{ip.exploded.upper()}]:{port}") == Address(str(ip), port)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for parse in (parse_server, parse_listen):
        try:
            address = parse(text)
        except Invalid as error:
            assert error.reason
            if error.nearest:
                parse(error.nearest)  # a suggestion is itself valid
        else:
            assert parse(str(address)) == address
