"""Signed tokens: whose key they are of, for whom and until when, and what servers are told of them."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from tests.e2e.balancer import Balancer, Balancers
from tests.e2e.servers import Answering
from tests.e2e.wire import Message
from tests.tokens import SECRET, Signer, part, token


def seen(request: Message) -> bytes:
    return "\n".join(f"{n}: {v}" for n, v in request.fields if n.startswith("x-") and "forwarded" not in n).encode()


@pytest.fixture(scope="module")
def echo() -> Iterator[Answering]:
    server = Answering(seen)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def keys() -> dict[str, Signer]:
    return {kid: Signer(algorithm, kid) for kid, algorithm in (("one", "RS256"), ("two", "ES256"), ("new", "EdDSA"))}


@pytest.fixture(scope="module")
def issuer(keys: dict[str, Signer]) -> Iterator[Answering]:
    """Publishes `one` and `two`, and whatever a test adds."""
    server = Answering()
    server.published = ["one", "two"]  # type: ignore[attr-defined]

    def answer(request: Message) -> bytes:
        return json.dumps({"keys": [keys[kid].jwk() for kid in server.published]}).encode()  # type: ignore[attr-defined]

    server.handler = answer
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gate(
    shared_balancer: Balancers, echo: Answering, issuer: Answering, keys: dict[str, Signer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Balancer:  # fmt: skip
    pem: Path = tmp_path_factory.mktemp("keys") / "one.pem"
    pem.write_bytes(keys["one"].pem)
    return shared_balancer(
        echo.address,
        frontend={
            "auth": "shared",
            "routes": [
                {"path": "/key", "backend": "app", "auth": "key"},
                {"path": "/set", "backend": "app", "auth": "set"},
            ],
        },
        auth={
            "shared": {
                "jwt": {
                    "secret": SECRET,
                    "issuer": "https://id.test",
                    "audience": ["web", "app"],
                    "leeway": "2s",
                    "require": {"scope": ["read", "admin"], "org.name": "*"},
                    "headers": {"sub": "X-User", "roles": "X-Roles", "org.name": "X-Org"},
                    "cookie": "session",
                }
            },
            "key": {"jwt": {"key": str(pem), "audience": "key"}},
            "set": {"jwt": {"jwks": f"http://{issuer.address}/keys", "audience": "set", "refresh_min": "0"}},
        },
    )


GOOD = {"iss": "https://id.test", "aud": "web", "scope": "write read", "org": {"name": "acme"}}


def status(gate: Balancer, line: str, target: str = "/") -> tuple[int, str]:
    with gate.dial() as client:
        answer = client.get(target, line).response()
        return answer.status, answer.get("www-authenticate") or ""


def test_a_good_token_comes_in_and_its_claims_go_on(gate: Balancer) -> None:
    good = token(**GOOD, roles=["dev", "ops"])
    with gate.dial() as client:
        for line in (f"Authorization: Bearer {good}", f"authorization: bearer  {good}", f"Cookie: a=b; session={good}"):
            answer = client.get("/", line, "X-User: root", "X_Roles: root", "X-Org: evil").response()
            assert (answer.status, answer.text.split("\n")) == (200, ["x-user: ann", "x-roles: dev,ops", "x-org: acme"])
        # A claim that the token does not have is told by nobody else either.
        answer = client.get("/", f"Authorization: Bearer {token(**GOOD)}", "X-Roles: root").response()
        assert answer.text.split("\n") == ["x-user: ann", "x-org: acme"]


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": int(time.time()) - 60}, "has expired"),
        ({"exp": None}, "has no exp"),
        ({"nbf": 4_000_000_000}, "not valid yet"),
        ({"iss": "https://evil.test"}, "another issuer"),
        ({"iss": None}, "has no iss"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "has no aud"),
    ],
)
def test_what_a_token_says_must_hold(gate: Balancer, claims: dict[str, object], words: str) -> None:
    code, challenge = status(gate, f"Authorization: Bearer {token(**{**GOOD, **claims})}")
    assert code == 401
    assert challenge.startswith('Bearer realm="api", error="invalid_token"') and words in challenge


@pytest.mark.parametrize("claims", [{"scope": "write"}, {"scope": None}, {"org": "acme"}, {"org": {"name": None}}])
def test_a_claim_that_is_required_and_missing_is_403(gate: Balancer, claims: dict[str, object]) -> None:
    code, challenge = status(gate, f"Authorization: Bearer {token(**{**GOOD, **claims})}")
    assert code == 403 and 'error="insufficient_scope"' in challenge


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "ann\r\nX-Roles: root"},
        {"sub": "ann\nX-Roles: root"},
        {"sub": "a\0b"},
        {"sub": "a\x85b"},
        {"roles": ["dev,root"]},
        {"roles": ["dev\r\n"]},
    ],
)
def test_claims_cannot_smuggle_lines_or_members(gate: Balancer, claims: dict[str, object]) -> None:
    code, _ = status(gate, f"Authorization: Bearer {token(**{**GOOD, **claims})}")
    assert code in (401, 403)


def test_two_opinions_are_none(gate: Balancer) -> None:
    """Whatever the server behind would make of the second one."""
    good, other = token(**GOOD), token(**GOOD, roles=["root"])
    for lines in (
        [f"Authorization: Bearer {good}", f"Authorization: Bearer {other}"],
        [f"Authorization: Bearer {other}", "Authorization: x", f"Cookie: session={good}"],
        [f"Cookie: session={good}; session={other}"],
        [f"Cookie: a=b; session={good};session=", "X: y"],
        [f"Cookie: session={good}", f"Cookie: c=d; session={other}"],
    ):
        with gate.dial() as client:
            assert client.get("/", *lines).response().status == 401, lines
    with gate.dial() as client:
        assert client.get("/", f"Cookie: xsession=1; session={good}; Session=2").response().status == 200


def test_nobody_without_a_token(gate: Balancer) -> None:
    for line in ("A: b", "Authorization: Basic YTpi", "Authorization: Bearer", "Cookie: sessio=x"):
        code, challenge = status(gate, line)
        assert (code, challenge) == (401, 'Bearer realm="api"')


@pytest.mark.parametrize(
    "raw",
    [
        "x",
        "a.b",
        "a.b.c",
        "....",
        ".." * 500,
        "é.é.é",
        f"{part({'alg': 'none'})}.{part(GOOD)}.",
        f"{part({'alg': 'None'})}.{part(GOOD)}.",
        f"{part({'alg': 5})}.{part(GOOD)}.AAAA",
        f"{part([])}.{part(GOOD)}.AAAA",
        f"{part({'alg': 'HS256', 'crit': ['x']})}.{part(GOOD)}.AAAA",
        f"{part({'alg': 'HS256'})}.{part([1])}.AAAA",
        part({"alg": "HS256", "kid": {"a": 1}}) + "." + part(GOOD) + ".AAAA",
        "A" * 9000,
        part({"a": "[" * 3000}) + ".A.A",
    ],
)
def test_garbage_is_refused(gate: Balancer, raw: str) -> None:
    line = "Authorization: Bearer " + raw.encode().decode("latin-1")
    assert status(gate, line)[0] == 401


def test_a_key_is_for_its_own_algorithms_alone(gate: Balancer, keys: dict[str, Signer]) -> None:
    assert status(gate, f"Authorization: Bearer {keys['one'].token(aud='key')}", "/key")[0] == 200
    # The public key as a shared secret: everybody knows it.
    header, body = part({"alg": "HS256", "typ": "JWT"}), part({"sub": "root", "aud": "key", "exp": 4e9})
    signature = jwt.utils.base64url_encode(hmac.digest(keys["one"].pem, f"{header}.{body}".encode(), "sha256")).decode()
    assert status(gate, f"Authorization: Bearer {header}.{body}.{signature}", "/key")[0] == 401
    other = Signer("RS256")
    assert status(gate, f"Authorization: Bearer {other.token(aud='key')}", "/key")[0] == 401
    assert status(gate, f"Authorization: Bearer {Signer('ES256').token(aud='key')}", "/key")[0] == 401


def test_keys_are_fetched_and_fetched_again_when_a_token_names_a_new_one(
    gate: Balancer, issuer: Answering, keys: dict[str, Signer]
) -> None:
    for kid in ("one", "two"):
        assert status(gate, f"Authorization: Bearer {keys[kid].token(aud='set')}", "/set")[0] == 200
    late = keys["new"].token(aud="set")
    assert status(gate, f"Authorization: Bearer {late}", "/set")[0] == 401
    issuer.published.append("new")  # type: ignore[attr-defined]
    assert status(gate, f"Authorization: Bearer {late}", "/set")[0] == 200
    # A token cannot bring its own key along.
    thief = Signer("RS256", "one")
    brought = jwt.encode({"aud": "set", "exp": 4e9}, thief.private, "RS256", headers={"jwk": thief.jwk(), "kid": "one"})
    assert status(gate, f"Authorization: Bearer {brought}", "/set")[0] == 401
