"""Health checks, agents and passive checks: what goes together and what does not."""

from __future__ import annotations

import pytest

from fastlb.config import check_mapping

from .samples import texts, with_tables


def errors(table: str) -> list[str]:
    base = '[frontends.web]\nlisten = ":8080"\nbackend = "app"\n'
    return texts(check_mapping(with_tables(table, base)))


def backend(text: str) -> str:
    return f'[backends.app]\nservers = ["10.0.0.1:80"]\n{text}\n'


@pytest.mark.parametrize(
    "text",
    [
        'health_check = { type = "tcp", send = "PING", receive = "PONG", tls = true }',
        'health_check = { type = "exec", command = ["/bin/true"] }',
        'health_check = { type = "exec", command = "/bin/sh -c \'exit 0\'" }',
        'health_check = { type = "python:a.b:c" }',
        'health_check = { body_regex = "^(a|b)$", tls = { verify = false } }',
        "agent_check = { port = 9 }",
        "outlier = true",
        'retry = { on = "timeout" }',
        'retry = { on = ["connect", 503, "5xx"], budget = 1.0 }',
        "retry = { on = [] }",
        "outlier = false",
        'outlier = { latency = 0, max_ejected = "10%" }',
    ],
)
def test_right(text: str) -> None:
    assert errors(backend(text)) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('health_check = { type = "tcp", body = "x" }', 'health_check.body = "x": is only for type = "http"'),
        ('health_check = { send = "x" }', 'health_check.send = "x": is only for type = "tcp"'),
        ('health_check = { type = "exec" }', 'health_check: type = "exec" needs a command'),
        ('health_check = { command = ["x"] }', 'is only for type = "exec"'),
        ('health_check = { type = "exec", command = ["x"], tls = true }', 'is only for type = "http" or "tcp"'),
        ('health_check = { body = "a", body_regex = "b" }', "only one of body and body_regex"),
        ('health_check = { body = "a", method = "HEAD" }', "the answer to HEAD has no body"),
        ('health_check = { body_regex = "(" }', "not a regular expression"),
        ('health_check = { tls = { ca = "/no/such/file" } }', "cannot be read"),
        ('health_check = { type = "python:a" }', "must be python:MODULE:FUNCTION"),
        ('health_check = { address = "example.com" }', "must be an IPv4 or IPv6 address"),
        ('health_check = { type = "exec", command = "a \'b" }', "not a command"),
        ('health_check = { initial = "sideways" }', "must be up or down"),
        ("agent_check = {}", "port"),
        ("agent_check = { port = 1, timeout = 0 }", "must be more than 0"),
        ("outlier = { base = 0 }", "must be more than 0"),
        ('outlier = { base = "10s", max = "5s" }', "must not be less than base"),
        ("outlier = { latency = 0.5 }", "must be more than 1"),
        ("outlier = 5", "outlier"),
        ('retry = { on = ["sometimes"] }', "must be connect, closed, timeout or malformed or a status"),
        ('retry = { on = ["conn-failure"] }', 'did you mean "connect"?'),
        ("retry = { on = 200 }", "statuses from 400 to 599"),
        ("retry = { budget = 20 }", "a share is from 0 to 1"),
    ],
)
def test_wrong(text: str, reason: str) -> None:
    found = errors(backend(text))
    assert any(reason in line for line in found), found
