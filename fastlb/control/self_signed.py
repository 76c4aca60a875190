"""Certificates that we sign ourselves: the stand-in until ACME has got one, and what proves a name in a handshake."""

from __future__ import annotations

import datetime
import hashlib
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastlb.spec import Pem

STAND_IN = "fastlb stand-in"  # common name, and name of the file that there is not
_DAYS = datetime.timedelta(days=3650)
_HOUR = datetime.timedelta(hours=1)
_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")  # id-pe-acmeIdentifier


@lru_cache(256)
def stand_in(names: tuple[str, ...]) -> Pem:
    """For listeners that wait for their first certificate; the same for the same names as long as the process lives."""
    return Pem(STAND_IN, _signed(names, STAND_IN, ()))


def proof(name: str, key_authorization: str) -> Pem:
    """The certificate of tls-alpn-01 (RFC 8737 section 3): the name, and a digest of the key authorization."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    wanted = x509.UnrecognizedExtension(_IDENTIFIER, b"\x04\x20" + digest)  # an OCTET STRING in DER
    return Pem("acme-tls/1", _signed((name,), name, ((wanted, True),)))


def _signed(names: tuple[str, ...], common: str, extensions: tuple[tuple[x509.ExtensionType, bool], ...]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + _DAYS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
