"""What is wrong with [auth] and with mirrors, and what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastlb.config import check_text
from fastlb.spec import Auth, BasicAuth, ForwardAuth, Mirror

from .samples import texts

USER = '"ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="'
REST = """
backends.app.servers = "127.0.0.1:1"
backends.new.servers = "127.0.0.1:2"
frontends.web = { listen = ":80", backend = "app", auth = "a", mirror = "new" }
"""


def problems(text: str, rest: str = REST) -> list[str]:
    return texts(check_text(text + rest))


def test_all_three_kinds_and_a_mirror() -> None:
    report = check_text(f"auth.a.basic.users = {USER}\nauth.b.forward.backend = 'new'\n{REST}")
    assert report.spec is not None and not report.errors
    assert report.spec.auth[0] == Auth("a", BasicAuth(users=("ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",)))
    assert report.spec.auth[1] == Auth("b", forward=ForwardAuth("new"))
    assert report.spec.frontends[0].mirror == Mirror("new") and report.spec.frontends[0].auth == "a"
    assert "SHA" not in repr(report.spec.auth[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auth.b.basic.users = " + USER, "there is no [auth] of this name"),
        ("", "there is no [auth] of this name; add [auth.a]"),
        ("auth.a = {}", "needs one of basic, jwt or forward"),
        (f"auth.a = {{ basic = {{ users = {USER} }}, forward = {{ backend = 'new' }} }}", "exactly one of"),
        ("auth.a.basic.realm = 'x'", "needs file or users"),
        ("auth.a.basic.users = 'ann:secret'", "not hashed in a known way"),
        ("auth.a.basic.file = '/nowhere/at/all'", "No such file"),
        (f"auth.a.basic = {{ users = {USER}, user_header = 'Host' }}", "Host says where a request goes"),
        (f"auth.a.basic = {{ users = {USER}, user_header = 'Content-Length' }}", "fastlb writes this header itself"),
        (f"auth.a.basic = {{ users = {USER}, user_headers = 'X' }}", 'did you mean "user_header"'),
        ("auth.a.jwt.audience = 'x'", "needs one of secret, key or jwks"),
        ("auth.a.jwt = { secret = '0123456789abcdefghij', audience = 'x' }", "at least 32 bytes"),
        ("auth.a.jwt = { key = '/nowhere', audience = 'x' }", "cannot be read"),
        ("auth.a.jwt = { jwks = 'ftp://x', audience = 'x' }", "begins with https://"),
        ("auth.a.jwt = { jwks = 'https://x', algorithms = 'none', audience = 'x' }", "never accepted"),
        ("auth.a.jwt = { jwks = 'https://x', algorithms = 'RS265', audience = 'x' }", 'did you mean "RS256"'),
        ("auth.a.jwt = { secret = 'env:NOT_SET_IN_TESTS', audience = 'x' }", "not set"),
        ("auth.a.jwt = { jwks = 'https://x', secret = 'env:HOME', audience = 'x' }", "exactly one of"),
        ("auth.a.jwt = { key = '/nowhere', refresh = '5m', audience = 'x' }", "is only for jwks"),
        ("auth.a.forward.path = '/'", "backend"),
        ("auth.a.forward.backend = 'newer'", 'did you mean "new"'),
        ("auth.a.forward = { backend = 'new', on_error = 'fail_open' }", 'did you mean "allow"'),
        ("auth.none.basic.users = " + USER, "stands for nobody being asked"),
    ],
)
def test_what_is_wrong(text: str, words: str) -> None:
    found = problems(text)
    assert any(words in one for one in found), found


def test_mirrors() -> None:
    rest = REST.replace('mirror = "new"', 'mirror = { backend = "mew", percent = "200%" }')
    found = problems(f"auth.a.basic.users = {USER}\n", rest)
    assert any("there are app, new" in one for one in found) and any("percent" in one for one in found)
    rest = REST.replace('mirror = "new"', 'mirror = { backend = "new", timeout = 0 }')
    assert any("must be more than 0" in one for one in problems(f"auth.a.basic.users = {USER}\n", rest))
    found = problems(f"auth.a.basic.users = {USER}\n", REST.replace('mirror = "new"', 'mirror = "app"'))
    assert any("gets the requests themselves" in one for one in found)


def test_sessions_know_neither() -> None:
    rest = REST.replace('listen = ":80"', 'listen = ":80", mode = "tcp"') + "backends.app.mode = 'tcp'"
    found = problems(f"auth.a.basic.users = {USER}\n", rest)
    assert sum("has no meaning with mode" in one for one in found) == 2


def test_a_key_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n")
    found = problems(f"auth.a.jwt = {{ key = '{file}', audience = 'x' }}\n")
    assert any("holds no public key" in one for one in found)
