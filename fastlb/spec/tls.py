"""TLS, to clients and to servers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate file as it was read."""

    name: str  # of the file
    text: bytes = field(repr=False)  # certificate, chain, private key


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of a listener."""

    cert: tuple[str, ...]  # PEM files, or directories of them; the first certificate is the default
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
class TlsSettings:
    """Of all TLS listeners."""

    ticket_rotation: float = 28800.0  # seconds until session tickets get a new key; 0 = never
