"""What a certificate says: for whom it is, with which kind of key, until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from fastlb.spec import Pem


@dataclass(frozen=True, slots=True)
class Leaf:
    """The first certificate of a PEM file."""

    file: str
    names: tuple[str, ...]  # DNS names in lower case, '*.' kept, then addresses
    kind: str  # of the key: ecdsa | rsa | ed25519 | ed448 | other
    subject: str
    issuer: str
    serial: str  # hexadecimal
    not_before: datetime
    not_after: datetime


@lru_cache(1024)
def leaf_of(pem: Pem) -> Leaf:
    """Raises ValueError when there is no certificate in it."""
    leaf = x509.load_pem_x509_certificates(pem.text)[0]
    return Leaf(
        pem.name,
        _names(leaf),
        _kind(leaf),
        leaf.subject.rfc4514_string(),
        leaf.issuer.rfc4514_string(),
        f"{leaf.serial_number:x}",
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [n.lower() for n in found.get_values_for_type(x509.DNSName)]
    return (*names, *(str(a) for a in found.get_values_for_type(x509.IPAddress)))


def _kind(leaf: x509.Certificate) -> str:
    key = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "ecdsa"
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    return "ed448" if isinstance(key, ed448.Ed448PublicKey) else "other"
