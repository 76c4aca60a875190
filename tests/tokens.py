"""Keys and tokens of tests."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of tests, forty characters long"


class Signer:
    """One key pair; `kid` as it stands in a set of keys."""

    def __init__(self, algorithm: str, kid: str = "") -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private: Any
        if algorithm.startswith(("RS", "PS")):
            self.private = rsa.generate_private_key(65537, 2048)
        elif algorithm.startswith("ES"):
            curve = {"256": ec.SECP256R1, "384": ec.SECP384R1, "512": ec.SECP521R1}[algorithm[2:]]
            self.private = ec.generate_private_key(curve())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()

    @property
    def pem(self) -> bytes:
        """The public half."""
        raw: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return raw

    def jwk(self, **more: Any) -> dict[str, Any]:
        made = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        return {**made, "kid": self.kid, **more}  # type: ignore[dict-item]

    def token(self, **claims: Any) -> str:
        return jwt.encode(defaults(claims), self.private, self.algorithm, headers={"kid": self.kid} if self.kid else {})


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token under a shared secret, good for an hour unless `claims` say otherwise; None leaves a claim out."""
    return jwt.encode(defaults(claims), secret, algorithm)


def defaults(claims: dict[str, Any]) -> dict[str, Any]:
    whole = {"sub": "ann", "exp": int(time.time()) + 3600, **claims}
    return {name: value for name, value in whole.items() if value is not None}


def part(value: object) -> str:
    """One part of a token, whatever it holds."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def basic(name: str, password: str) -> str:
    """The header line."""
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
