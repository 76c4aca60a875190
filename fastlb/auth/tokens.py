"""Signed tokens (JWT, RFC 7519) as bearers (RFC 6750)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import jwt

from fastlb.spec import Jwt

from .keys import Key, NoKeys
from .pool import Threads
from .verdict import Attempts, Verdict
from .verifier import Verifier

WAITING = 1024  # verifications that wait for a thread, a worker
WORDS = ("scope", "scp")  # claims that list words with spaces between (RFC 8693 section 4.2)


class Keys(Protocol):
    def find(self, kid: str, algorithm: str) -> Sequence[Key]: ...


class Unfit(Exception):
    """The token is not good enough: (status, error code, reason)."""


class OutOfTime(Unfit):
    """It is the issuer's, but no more or not yet: nobody guesses such a one."""


def challenge(realm: str, error: str = "", text: str = "") -> bytes:
    """WWW-Authenticate; an error is told only to who brought a token (RFC 6750 section 3.1)."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    parts = [f'realm="{quoted}"'] + ([f'error="{error}"', f'error_description="{text}"'] if error else [])
    return f"Bearer {', '.join(parts)}".encode()


class Tokens(Verifier):
    """Verifies tokens by `rules` with `keys`, in threads."""

    def __init__(self, rules: Jwt, keys: Keys, attempts: Attempts) -> None:
        super().__init__(Threads("fastlb-tokens", rules.threads, WAITING), attempts, b"too many wrong tokens")
        self._rules = rules
        self._keys = keys
        self._options: dict[str, Any] = {
            "require": ["exp"] if rules.expires else [],
            "verify_aud": bool(rules.audience),
            "verify_iss": bool(rules.issuer),
            "verify_iat": False,  # RFC 7519 gives no meaning to it beyond information
            "verify_sub": False,
            "verify_jti": False,
        }

    def verify(self, token: bytes, now: float | None = None) -> Verdict:
        """The verdict on a token. Never raises."""
        try:
            claims = self._claims(token)
            self._required(claims)
            lines = tuple(self._lines(claims))
        except NoKeys:
            return Verdict(503, reason=b"no keys to verify tokens with", retry_after=5)
        except Unfit as error:
            status, code, reason = error.args
            told = challenge(self._rules.realm, code, reason)
            wrong = status == 401 and not isinstance(error, OutOfTime)  # a good one that may too little is no guess
            return Verdict(status, challenge=told, reason=reason.encode(), wrong=wrong)
        seconds = self._rules.cache
        if (end := claims.get("exp")) is not None:
            seconds = min(seconds, _seconds(end) + self._rules.leeway - (time.time() if now is None else now))
        user = claims.get(self._rules.user_claim, "")
        return Verdict(0, lines, user.encode("utf-8", "replace") if isinstance(user, str) else b"", seconds)

    def _claims(self, token: bytes) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token) if token.count(b".") == 2 else {}
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            header = {}
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or not isinstance(kid, str) or "crit" in header or "b64" in header:
            raise Unfit(401, "invalid_token", "the token is malformed")
        found = self._keys.find(kid, algorithm)
        if not found:
            raise Unfit(401, "invalid_token", "no key for the token's algorithm and kid")
        for key in found:
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token,
                    key.key,
                    algorithms=list(key.algorithms),
                    audience=self._rules.audience or None,
                    issuer=self._rules.issuer or None,
                    leeway=self._rules.leeway,
                    options=self._options,  # type: ignore[arg-type]
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise OutOfTime(401, "invalid_token", "the token has expired") from None
            except jwt.ImmatureSignatureError:
                raise OutOfTime(401, "invalid_token", "the token is not valid yet") from None
            except jwt.InvalidAudienceError:
                raise Unfit(401, "invalid_token", "the token is for another audience") from None
            except jwt.InvalidIssuerError:
                raise Unfit(401, "invalid_token", "the token is of another issuer") from None
            except jwt.MissingRequiredClaimError as error:
                raise Unfit(401, "invalid_token", f"the token has no {error.claim}") from None
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
                raise Unfit(401, "invalid_token", "the token is malformed") from None
            return claims
        raise Unfit(401, "invalid_token", "the token's signature is wrong")

    def _required(self, claims: Mapping[str, Any]) -> None:
        for path, wanted in self._rules.require:
            there = _words(path, _at(claims, path))
            if there is None or (wanted and not set(map(_text, there)) & set(wanted)):
                raise Unfit(403, "insufficient_scope", "the token lacks a claim that is required")

    def _lines(self, claims: Mapping[str, Any]) -> Iterable[tuple[bytes, bytes]]:
        for path, header in self._rules.headers:
            value = _at(claims, path)
            if value is not None:
                yield header.encode(), _field(value)


def _seconds(end: Any) -> float:
    try:
        return float(end)
    except OverflowError:  # an integer beyond all floats
        return math.inf


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name, or inside of others where its name has dots; None when it is not there."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _words(path: str, value: Any) -> list[Any] | None:
    if value is None:
        return None
    if isinstance(value, str) and path.rpartition(".")[2] in WORDS:
        return value.split()
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)


def _field(value: Any) -> bytes:
    """A claim as a field's value. A list is parted by commas, so none of its members may hold one: "a,b" in a list of
    roles must not come out as two roles. What could end the line, or not be told, makes the token unfit."""
    if isinstance(value, list):
        parts = [_text(part) for part in value]
        if any("," in part for part in parts):
            raise Unfit(403, "invalid_token", "a claim cannot be told to the server")
        text = ",".join(parts)
    else:
        text = _text(value)
    if any(ord(c) < 0x20 or ord(c) == 0x7F or 0x80 <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise Unfit(403, "invalid_token", "a claim cannot be told to the server")
    return text.encode()
