"""Keys that tokens are signed with: a secret, a public key, or a set of them behind a URL (RFC 7517)."""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

log = logging.getLogger("fastlb.auth")

HMAC = ("HS256", "HS384", "HS512")
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
LARGEST = 1 << 20  # bytes of a key set
SHORTEST = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes of a secret, RFC 7518 section 3.2
HURRY = 2.0  # seconds between two tries while there are no keys at all
MODULUS = 2048  # bits of an RSA key, RFC 7518 section 3.3


class NoKeys(Exception):
    """There are no keys to verify with, which is nobody's fault who brings a token."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the algorithms that it is for: never those of another kind, whatever a token says."""

    key: Any
    algorithms: tuple[str, ...]
    kid: str = ""


def secret(raw: bytes, allowed: Sequence[str] = ()) -> Key:
    """A shared secret. ValueError where it is too short for every algorithm that is allowed."""
    fits = tuple(a for a in HMAC if len(raw) >= SHORTEST[a] and (not allowed or a in allowed))
    if not fits:
        raise ValueError(f"a secret has at least {SHORTEST['HS256']} bytes for HS256, 48 for HS384, 64 for HS512")
    return Key(raw, fits)


def public(pem: bytes, allowed: Sequence[str] = ()) -> Key:
    """A public key or certificate in PEM form. ValueError where it is none, or for no algorithm that is allowed."""
    try:
        if b"BEGIN CERTIFICATE" in pem:
            key: Any = load_pem_x509_certificate(pem).public_key()
        else:
            key = load_pem_public_key(pem)
    except ValueError as error:
        raise ValueError("holds no public key in PEM form") from error
    return Key(key, _narrowed(_algorithms(key), allowed))


def _algorithms(key: object) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MODULUS:
            raise ValueError(f"an RSA key has at least {MODULUS} bits")
        return RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        return (CURVES[key.curve.name],) if key.curve.name in CURVES else ()
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return ("EdDSA",)
    raise ValueError("is of a kind that tokens are not signed with")


def _narrowed(algorithms: tuple[str, ...], allowed: Sequence[str]) -> tuple[str, ...]:
    fits = tuple(a for a in algorithms if not allowed or a in allowed)
    if not fits:
        raise ValueError(f"is for {', '.join(algorithms)}, none of which is allowed")
    return fits


def key_set(text: bytes, allowed: Sequence[str] = ()) -> list[Key]:
    """The keys of a JWK set that verify signatures. What is not for that, or not known, is left out; shared secrets
    too, for a set that is fetched is public. ValueError where it is no set."""
    try:
        listed = json.loads(text)["keys"]
        assert isinstance(listed, list)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
        raise ValueError("is not a JWK set") from error
    keys = []
    for one in listed[:256]:
        if not isinstance(one, Mapping) or one.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            if (one.get("use") or "sig") != "sig" or "verify" not in (one.get("key_ops") or ["verify"]):
                continue
            key = jwt.PyJWK.from_dict(dict(one)).key
            fits = _narrowed(_algorithms(key), allowed)
            if (own := one.get("alg")) is not None:
                fits = tuple(a for a in fits if a == own)
        except Exception:  # whatever is wrong with one key, the others are as good as before
            continue
        if fits:
            keys.append(Key(key, fits, str(one.get("kid") or "")))
    return keys


def matching(keys: Sequence[Key], kid: str, algorithm: str) -> list[Key]:
    """Those that a token with this header may be signed with: by its kid, where both name one."""
    return [k for k in keys if algorithm in k.algorithms and (not kid or not k.kid or k.kid == kid)]


class Fixed:
    """Keys that are what they are."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, kid: str, algorithm: str) -> list[Key]:
        return matching(self._keys, kid, algorithm)


class Fetched:
    """Keys behind a URL: fetched again after `refresh` seconds, or when a token names a key that is not there, but not
    more often than every `pause` seconds. Old ones are used for `stale` seconds while fetching fails. For threads."""

    def __init__(
        self,
        url: str,
        *,
        refresh: float,
        pause: float,
        stale: float,
        timeout: float,
        ca: str = "",
        allowed: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[], bytes] | None = None,
    ) -> None:
        self._url = url
        self._refresh = refresh
        self._pause = pause
        self._stale = stale
        self._timeout = timeout
        self._ca = ca
        self._allowed = tuple(allowed)
        self._clock = clock
        self._fetch = fetch or self._get
        self._lock = threading.Lock()
        self._keys: tuple[Key, ...] = ()
        self._fetched = -1e9  # when fetching last went well
        self._tried = -1e9
        self.fetches = 0
        self.failures = 0

    def find(self, kid: str, algorithm: str) -> list[Key]:
        """As matching(). Raises NoKeys where there are none, or only ones that are too old. May take `timeout`."""
        age = self._clock() - self._fetched
        if age >= self._refresh + self._stale:
            self.again(min(self._pause, HURRY))
            if self._clock() - self._fetched >= self._refresh + self._stale:
                raise NoKeys
        elif age >= self._refresh and self._clock() - self._tried >= self._pause:
            self.start()  # the old ones will do meanwhile
        found = matching(self._keys, kid, algorithm)
        if not found:
            self.again(self._pause)
            found = matching(self._keys, kid, algorithm)
        return found

    def start(self) -> None:
        """Fetches in a thread of its own."""
        threading.Thread(target=self.again, args=(min(self._pause, HURRY),), name="fastlb-keys", daemon=True).start()

    def again(self, pause: float) -> None:
        """Fetches, unless it was tried within `pause` seconds. What is there stays when that fails."""
        with self._lock:
            if self._clock() - self._tried < pause:
                return
            self._tried = self._clock()
            self.fetches += 1
            try:
                keys = key_set(self._fetch(), self._allowed)
                if not keys:
                    raise ValueError("holds no key that could have signed a token")
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures += 1
                self._tried = self._clock()  # who waited meanwhile does not begin at once what takes so long
                log.warning("keys from %s: %s; %d old ones are used", self._url, error, len(self._keys))
                return
            self._keys = tuple(keys)
            self._fetched = self._clock()

    def _get(self) -> bytes:
        context = ssl.create_default_context(cafile=self._ca or None) if self._url.startswith("https:") else None
        request = urllib.request.Request(self._url, headers={"Accept": "application/json", "User-Agent": "fastlb"})
        # Redirects stay on the scheme that the operator chose: https never becomes http.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            *([urllib.request.HTTPSHandler(context=context)] if context else []),
            _SameScheme,
        )
        raw = b""
        end = time.monotonic() + self._timeout  # that of the opener is for each piece, and a piece may be a byte
        with opener.open(request, timeout=self._timeout) as answer:
            while piece := answer.read1(LARGEST):
                raw += piece
                if len(raw) > LARGEST:
                    raise ValueError("is larger than 1 MB")
                if time.monotonic() > end:
                    raise TimeoutError(f"not whole after {self._timeout:g} s")
        if answer.length:
            raise http.client.IncompleteRead(raw, answer.length)
        return raw


class _SameScheme(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if newurl.partition(":")[0] != req.full_url.partition(":")[0]:
            raise urllib.error.URLError("redirects to another scheme")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
