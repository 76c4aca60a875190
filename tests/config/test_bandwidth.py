"""Bandwidth in the configuration."""

from __future__ import annotations

import pytest

from fastlb import spec
from fastlb.config import check_text

from .samples import texts

BACKEND = '[backends.app]\nservers = "10.0.0.1:80"\n'


def read(text: str) -> spec.Spec:
    report = check_text(text)
    assert texts(report) == []
    assert report.spec is not None
    return report.spec


def test_every_key_is_read() -> None:
    found = read(
        """
        [frontends.web]
        listen = ":80"
        backend = "app"
        bandwidth = "2MB/s"
        [[frontends.web.routes]]
        path = "/a"
        backend = "app"
        bandwidth = ["60KB/m", { request = "1KB/s", request_after = "2KB", key = "header:A" }]
        [backends.app]
        servers = "10.0.0.1:80"
        bandwidth = { response = "3KB/s", response_after = 4, key = [], ipv4_prefix = 24, ipv6_prefix = 48, \
exempt = "10.0.0.0/8" }
        """
    )
    (web,) = found.frontends
    assert web.bandwidth == (spec.Bandwidth(response=2.0 * 1024 * 1024),)
    assert web.routes[0].bandwidth == (
        spec.Bandwidth(response=1024.0),
        spec.Bandwidth(request=1024.0, request_after=2048, key=("header:A",)),
    )
    assert found.backends[0].bandwidth == (
        spec.Bandwidth(3072.0, 4, key=(), ipv4_prefix=24, ipv6_prefix=48, exempt=("10.0.0.0/8",)),
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"10/s"', 'must be bytes and a time, such as "500KB/s"; did you mean "10B/s"?'),
        ("500", 'must be bytes and a time, such as "500KB/s"; did you mean "500B/s"?'),
        ("{ response_after = 3 }", 'a rate is needed, such as response = "500KB/s"'),
        ('{ request = "1KB/s", response_after = 3 }', "has no effect without response"),
        ('{ response = "1KB/s", key = "uri" }', "must be ip, path, host, route, header:NAME"),
        ('{ respons = "1KB/s" }', 'unknown key; did you mean "response"?'),
    ],
)
def test_wrong_values_are_told(value: str, message: str) -> None:
    report = check_text(f'[frontends.web]\nlisten = ":80"\nbackend = "app"\nbandwidth = {value}\n{BACKEND}')
    assert len(report.errors) >= 1
    assert message in "\n".join(texts(report))


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('[frontends.a]\nlisten = ":80"\nmode = "tcp"\nbackend = "b"\nbandwidth = { response = "1B/s", key = "path" }\n'
         '[backends.b]\nmode = "tcp"\nservers = "10.0.0.1:80"\n', "frontends.a.bandwidth.key", "known of a session"),
        ('[frontends.a]\nlisten = ":80"\nmode = "udp"\nbackend = "b"\nbandwidth = "1B/s"\n'
         '[backends.b]\nmode = "udp"\nservers = "10.0.0.1:80"\n', "frontends.a.bandwidth", "is not for mode"),
        (f'[frontends.a]\nlisten = ":80"\nbackend = "app"\n[[frontends.a.routes]]\nrespond.status = 204\n'
         f'path = "/x"\nbandwidth = "1B/s"\n{BACKEND}', "frontends.a.routes[0].bandwidth", "answers by itself"),
        (f'[frontends.a]\nlisten = ":80"\nbackend = "app"\n{BACKEND}bandwidth = {{ response = "1B/s", key = "route" }}',
         "backends.app.bandwidth.key", "no routes"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_told(text: str, where: str, message: str) -> None:
    (found,) = texts(check_text(text))
    assert where in found
    assert message in found
