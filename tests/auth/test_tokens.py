"""Tokens and their keys, where no server is needed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any

import pytest

from fastlb.auth import keys
from fastlb.auth.tokens import Tokens
from fastlb.engine.failures import Failures
from fastlb.spec import Jwt
from tests.helpers import SLOWNESS
from tests.tokens import SECRET, Signer, token

RULES = Jwt(secret=SECRET)


def verifier(rules: Jwt = RULES, found: Any = None) -> Tokens:
    failures = Failures(None, "test", rules.failures, rules.window)
    return Tokens(rules, found or keys.Fixed([keys.secret(SECRET.encode())]), failures)


def test_a_token_is_remembered_no_longer_than_it_lives() -> None:
    now = time.time()
    rules = Jwt(leeway=10.0, cache=300.0)
    for exp, seconds in ((now + 100, 110), (now + 1000, 300)):
        verdict = verifier(rules).verify(token(exp=int(exp)).encode(), now)
        assert verdict.status == 0 and seconds - 1.1 <= verdict.seconds <= seconds
    forever = verifier(Jwt(expires=False)).verify(token(exp=None).encode())
    assert (forever.status, forever.seconds) == (0, 300.0)


@pytest.mark.parametrize(
    ("claims", "status", "wrong"),
    [
        ({}, 0, False),
        ({"scope": "write"}, 403, False),
        ({"exp": 1}, 401, False),
        ({"nbf": 4_000_000_000}, 401, False),
        ({"aud": "other"}, 401, True),
        ({"exp": None}, 401, True),
    ],
)
def test_only_what_may_be_a_guess_counts_as_one(claims: dict[str, object], status: int, wrong: bool) -> None:
    rules = Jwt(audience=("web",), require=(("scope", ("read",)),))
    verdict = verifier(rules).verify(token(**{"aud": "web", "scope": "read", **claims}).encode())
    assert (verdict.status, verdict.wrong) == (status, wrong)
    assert verifier().verify(b"a.b.c").wrong and verifier().verify(token("x" * 40).encode()).wrong


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 10**400},  # beyond every float
        {"sub": "\ud800"},  # no character: UTF-8 cannot say it
        {"sub": ["ann"]},
        {"sub": {"a": [[]]}},
    ],
)
def test_odd_claims_of_a_good_token(claims: dict[str, object]) -> None:
    verdict = verifier(Jwt(cache=300.0)).verify(token(**claims).encode())
    assert (verdict.status, verdict.user) == (0, {"\ud800": b"?"}.get(str(claims.get("sub")), verdict.user))
    assert 0 < verdict.seconds <= 300.0


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
def test_every_kind_of_public_key(algorithm: str) -> None:
    signer = Signer(algorithm, "k")
    for found in ([keys.public(signer.pem)], keys.key_set(json.dumps({"keys": [signer.jwk()]}).encode())):
        good = verifier(found=keys.Fixed(found)).verify(signer.token().encode())
        assert (good.status, good.user) == (0, b"ann")
        assert verifier(found=keys.Fixed(found)).verify(Signer(algorithm, "k").token().encode()).status == 401


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_secrets_must_be_long_enough(algorithm: str) -> None:
    long = SECRET * 2
    assert verifier(found=keys.Fixed([keys.secret(long.encode())])).verify(
        token(long, algorithm).encode()
    ).status == 0  # fmt: skip
    with pytest.raises(ValueError, match="32 bytes"):
        keys.secret(b"short")
    with pytest.raises(ValueError, match="64 for HS512"):
        keys.secret(b"x" * 40, ["HS512"])
    assert keys.secret(b"x" * 50).algorithms == ("HS256", "HS384")


def test_a_set_gives_only_keys_for_signatures() -> None:
    good = Signer("RS256", "good")
    text = json.dumps(
        {
            "keys": [
                good.jwk(),
                Signer("RS256", "enc").jwk(use="enc"),
                Signer("RS256", "ops").jwk(key_ops=["encrypt"]),
                Signer("RS256", "alg").jwk(alg="RSA-OAEP"),
                {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
                {"kty": "RSA", "kid": "broken", "n": 5},
                {"kty": "RSA", "kid": "empty"},
                {"kty": "EC", "crv": "P-9", "x": "a", "y": "b"},
                Signer("RS256", "use").jwk(use=5),
                Signer("RS256", "five").jwk(key_ops=5),
                Signer("RS256", "false").jwk(key_ops=[False]),
                "text", None, 5,
            ]
        }
    ).encode()  # fmt: skip
    assert [key.kid for key in keys.key_set(text)] == ["good"]
    nulls = good.jwk(use=None, key_ops=None, kid=None)  # as good as not there
    assert [key.kid for key in keys.key_set(json.dumps({"keys": [nulls]}).encode())] == [""]
    assert keys.key_set(text, ["ES256"]) == []
    only = keys.key_set(json.dumps({"keys": [good.jwk(alg="RS512")]}).encode())
    assert only[0].algorithms == ("RS512",)
    assert verifier(found=keys.Fixed(only)).verify(good.token().encode()).status == 401
    for wrong in (b"", b"[]", b"{}", b'{"keys": 5}', b"[" * 100000, b"\xff"):
        with pytest.raises(ValueError, match="not a JWK set"):
            keys.key_set(wrong)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fetched(answers: list[bytes | Exception], clock: Clock) -> keys.Fetched:
    def fetch() -> bytes:
        found = answers[0] if len(answers) == 1 else answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return keys.Fetched("http://x", refresh=60, pause=10, stale=100, timeout=1, clock=clock, fetch=fetch)


def test_keys_are_fetched_when_they_are_old_and_kept_while_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    signer, late = Signer("ES256", "a"), Signer("ES256", "b")
    one = json.dumps({"keys": [signer.jwk()]}).encode()
    two = json.dumps({"keys": [signer.jwk(), late.jwk()]}).encode()
    clock = Clock()
    answers: list[bytes | Exception] = [OSError("down"), one, two, OSError("down")]
    found = fetched(answers, clock)
    monkeypatch.setattr(found, "start", lambda: found.again(2.0))  # no thread: the test says when
    with pytest.raises(keys.NoKeys):
        found.find("a", "ES256")
    with pytest.raises(keys.NoKeys):  # asked again too soon: nothing is fetched
        found.find("a", "ES256")
    assert (found.fetches, found.failures) == (1, 1)
    clock.now += 3
    assert [key.kid for key in found.find("a", "ES256")] == ["a"]
    assert found.find("b", "ES256") == [] and found.fetches == 2  # too soon for another look
    clock.now += 11
    assert [key.kid for key in found.find("b", "ES256")] == ["b"] and found.fetches == 3
    clock.now += 61
    assert found.find("a", "ES256") and (found.fetches, found.failures) == (4, 2)  # the old ones will do
    clock.now += 100
    with pytest.raises(keys.NoKeys):
        found.find("a", "ES256")


def test_no_keys_are_nobodys_fault() -> None:
    verdict = verifier(found=fetched([b"garbage"], Clock())).verify(token().encode())
    assert (verdict.status, verdict.retry_after, verdict.challenge) == (503, 5, b"")


def test_a_set_that_comes_byte_by_byte_is_given_up() -> None:
    """Each byte is in time: it would hold up all who wait for keys, for days."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            one, _ = listener.accept()
            with one, contextlib.suppress(OSError):
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.02):
                    one.sendall(b" ")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        found = keys.Fetched(url, refresh=60, pause=60, stale=60, timeout=0.3)
        with pytest.raises(keys.NoKeys):
            found.find("a", "ES256")
        with pytest.raises(keys.NoKeys):  # and is not asked for again at once
            found.find("a", "ES256")
        over.set()
        thread.join()
    assert (found.fetches, found.failures) == (1, 1)


@pytest.mark.parametrize(("body", "good"), [("whole", True), ("cut", False), ("chunked", True), ("large", False)])
def test_a_set_is_taken_whole_or_not_at_all(body: str, good: bool) -> None:
    text = json.dumps({"keys": [Signer("ES256", "a").jwk()]}).encode()
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
    answer = {
        "whole": head + b"Content-Length: %d\r\n\r\n" % len(text) + text,
        "cut": head + b"Content-Length: %d\r\n\r\n" % (len(text) + 1) + text,
        "chunked": head + b"Transfer-Encoding: chunked\r\n\r\n3\r\n" + text[:3] + b"\r\n"
        + b"%x\r\n" % (len(text) - 3) + text[3:] + b"\r\n0\r\n\r\n",
        "large": head + b"\r\n" + text[:-1] + b" " * keys.LARGEST + b"}",
    }[body]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def give() -> None:
            one, _ = listener.accept()
            with one, contextlib.suppress(OSError):
                one.recv(65536)
                one.sendall(answer)

        thread = threading.Thread(target=give, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        found = keys.Fetched(url, refresh=60, pause=60, stale=60, timeout=20 * SLOWNESS)
        if good:
            assert [key.kid for key in found.find("a", "ES256")] == ["a"]
        else:
            with pytest.raises(keys.NoKeys):
                found.find("a", "ES256")
        thread.join()
