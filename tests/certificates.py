"""Certificates for tests: an authority and what it signs, as files."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key(kind: str = "ecdsa") -> Key:
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)


def pem_key(key: Key) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def pem(certificate: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    """Signs certificates; `under` makes it an intermediate one."""

    def __init__(self, name: str, under: Authority | None = None) -> None:
        self.key = new_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.under = under
        self._revoked: list[int] = []
        issuer = under or self
        self.certificate = (
            _builder(self.name, issuer.name, self.key, 100)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(issuer.key, hashes.SHA256())
        )

    def issue(
        self,
        file: Path,
        *names: str,
        kind: str = "ecdsa",
        days: float = 30,
        common_name: str = "",
        uri: str = "",
        key_file: Path | None = None,
    ) -> x509.Certificate:
        """Writes certificate, chain and key (to `key_file`, else behind them) for DNS names and addresses."""
        key = new_key(kind)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0])])
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
        for name in names:
            literal = name.replace(":", "").replace(".", "").isdigit()
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)) if literal else x509.DNSName(name))
        builder = _builder(subject, self.name, key, days).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        chain, signer = b"", self
        while signer.under is not None:
            chain, signer = chain + pem(signer.certificate), signer.under
        whole = pem(made) + chain
        if key_file is not None:
            key_file.write_bytes(pem_key(key))
        else:
            whole += pem_key(key)
        fresh = file.with_suffix(".new")
        fresh.write_bytes(whole)
        fresh.replace(file)
        return made

    def revoke(self, certificate: x509.Certificate, file: Path) -> None:
        """Writes the list of all that were revoked so far."""
        self._revoked.append(certificate.serial_number)
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now - DAY)
        builder = builder.next_update(now + DAY)
        for number in self._revoked:
            one = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - DAY).build()
            builder = builder.add_revoked_certificate(one)
        file.write_bytes(pem(builder.sign(self.key, hashes.SHA256())))


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: float) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY * days)
    )
