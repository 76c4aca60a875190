"""What a certificate says: for whom it is, with which kind of key, until when."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from fastlb.spec import Pem

MAX_ELEMENT = 4096  # bytes that further names may fill


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


@lru_cache(4096)
def client_certificate(der: bytes) -> bytes:
    """The element of X-Forwarded-Client-Cert for a certificate: Envoy's form, with Hash, Subject, URI and DNS.

    Source: Envoy, "HTTP header manipulation", x-forwarded-client-cert. Nothing of it can end the field or the element:
    what is not printable ASCII is escaped as in a URI, and quotes within quotes with a backslash.
    """
    found = x509.load_der_x509_certificate(der)
    subject = found.subject.rfc4514_string().replace("\\", "\\\\").replace('"', '\\"')
    parts = [f"Hash={hashlib.sha256(der).hexdigest()}", f'Subject="{subject}"']
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        parts += [f"URI={_plain(uri)}" for uri in names.get_values_for_type(x509.UniformResourceIdentifier)]
        parts += [f"DNS={_plain(name)}" for name in names.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        pass
    while len(parts) > 2 and len(";".join(parts)) > MAX_ELEMENT:
        parts.pop()
    return "".join(c if 32 <= ord(c) < 127 else quote(c) for c in ";".join(parts)).encode("ascii")


def _plain(value: str) -> str:
    return quote(value, safe="!#$&'()*+-./:?@_~%[]")


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
