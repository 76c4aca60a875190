"""TLS, to clients and to servers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate file as it was read."""

    name: str  # of the file
    text: bytes = field(repr=False)  # certificate, chain, private key


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of a listener."""

    cert: tuple[str, ...]  # PEM files, or directories of them; the first certificate is the default
    acme: tuple[str, ...] = ()  # names of a certificate that is got and renewed by ACME, behind those of `cert`
    acme_cert: str = ""  # the file that it is kept in; '' = none
    key: str = ""  # of a single file; '' = inside it
    strict_sni: bool = False  # clients whose server name no certificate covers are turned away
    min_version: str = "1.2"  # 1.2 | 1.3
    ciphers: str = ""  # of TLS 1.2, OpenSSL's list; '' = ECDHE with AES-GCM or ChaCha20
    ciphersuites: tuple[str, ...] = ()  # of TLS 1.3, best first; () = OpenSSL's
    curves: tuple[str, ...] = ()  # of the key exchange, best first; () = OpenSSL's
    alpn: tuple[str, ...] = ("http/1.1",)
    handshake_timeout: float = 10.0  # seconds, and never more than `header`; 0 = `header` is for both together
    handshake_rate: float = 0.0  # begun a second, over all workers; what is over waits; 0 = unlimited
    client_auth: str = "none"  # none | optional | required
    client_ca: str = ""  # file of authorities whose client certificates are good
    client_crl: str = ""  # file of lists of revoked certificates
    client_depth: int = 0  # intermediate certificates at most; 0 = OpenSSL's 100
    # what the files hold, filled in by the supervisor: workers read none
    pems: tuple[Pem, ...] = field(default=(), repr=False, compare=False)
    authorities: bytes = field(default=b"", repr=False, compare=False)
    revoked: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Hsts:
    """Strict-Transport-Security of the answers over TLS (RFC 6797)."""

    max_age: float = 31536000.0  # seconds
    include_subdomains: bool = False
    preload: bool = False

    def __str__(self) -> str:
        subdomains = "; includeSubDomains" if self.include_subdomains else ""
        return f"max-age={self.max_age:.0f}{subdomains}{'; preload' if self.preload else ''}"


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS towards the servers of a backend."""

    verify: bool = True  # the certificate must be valid and for the server's name
    ca: str = ""  # file of authorities; '' = the system's
    server_name: str = ""  # SNI, and what the certificate is for; '' = the server's address
    cert: str = ""  # PEM file of a client certificate
    key: str = ""  # of it; '' = inside the same file
    min_version: str = "1.2"  # 1.2 | 1.3
    alpn: tuple[str, ...] = ()  # mode tcp: protocols offered, best first; HTTP offers http/1.1
    # what the files hold, filled in by the supervisor
    pem: Pem | None = field(default=None, repr=False, compare=False)
    authorities: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class CheckTls:
    """TLS of a health check towards the server."""

    verify: bool = True
    ca: str = ""  # file of authorities; '' = the system's
    server_name: str = ""  # SNI, and what the certificate is for; '' = the check's host, or the server's address


@dataclass(frozen=True, slots=True)
class Acme:
    """Where certificates come from by themselves (RFC 8555)."""

    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    storage: str = "/var/lib/fastlb/acme"  # directory of the account's key and of the certificates
    contact: tuple[str, ...] = ()  # mail addresses
    challenge: str = "http-01"  # http-01 | tls-alpn-01
    key: str = "ecdsa"  # kind of the certificates' keys: ecdsa | rsa
    ca: str = ""  # file of authorities for the directory's own certificate; '' = the system's
    eab_kid: str = ""  # external account binding: the key's name, '' = none
    eab_key: str = field(default="", repr=False)  # base64url of it, or env:NAME or file:PATH

    def folder(self) -> Path:
        """Of what belongs to this directory: another one has another account and other certificates."""
        mark = hashlib.sha256(self.directory.encode()).hexdigest()[:8]
        return Path(self.storage) / f"{urlsplit(self.directory).hostname}-{mark}"

    def certificate(self, names: tuple[str, ...]) -> Path:
        """The file of the certificate for these names, which goes by the first one."""
        return self.folder() / f"{names[0]}.pem"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Of all TLS listeners."""

    ticket_rotation: float = 28800.0  # seconds until session tickets get a new key; 0 = never
    acme: Acme | None = None


@dataclass(frozen=True, slots=True)
class Challenges:
    """What an ACME server wants to see now."""

    answers: tuple[tuple[str, str], ...] = ()  # path of a plain request, body of its answer (RFC 8555 section 8.3)
    certificates: tuple[tuple[str, Pem], ...] = ()  # for handshakes with ALPN acme-tls/1 and this name (RFC 8737)
