"""The table that makes a listener speak TLS."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from fastlb import spec

from .models_acme import AcmeNames, AcmeTable
from .models_rates import RATE_PATTERN, rate
from .suggest import Invalid
from .types import CheckHost, Duration, Table, choice, one_or_many, option
from .units import DURATION_PATTERN, duration

_TLS = spec.Tls(())
_HSTS = spec.Hsts()

CURVES = ("X25519", "P-256", "P-384", "P-521", "X448")
_CURVE_ALIASES = {
    "prime256v1": "P-256", "secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "x25519": "X25519",
    "x448": "X448",
}  # fmt: skip
CIPHERSUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


def _version(value: object) -> str:
    text = {1.2: "1.2", 1.3: "1.3"}.get(value) if isinstance(value, float) else value
    if isinstance(text, str):
        text = text.lower().removeprefix("tls").removeprefix("v")
    if text not in ("1.2", "1.3"):
        old = text in ("1.0", "1.1", "1")
        raise Invalid('must be "1.2" or "1.3"' + ("; older ones are broken" if old else ""), "1.2")
    return str(text)


def _protocol(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) < 256:
        raise Invalid('must be the name of a protocol, such as "http/1.1"')
    return value


def _file(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Invalid("must be the name of a file or a directory")
    return value


def _pace(value: object) -> float:
    return 0.0 if value == 0 and not isinstance(value, bool) else rate(value)


Pace = Annotated[
    float,
    PlainValidator(_pace),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": RATE_PATTERN}, {"const": 0}], "examples": ["500/s"]}),
]
Curve = Annotated[str, *choice(*CURVES, aliases=_CURVE_ALIASES)]
Ciphersuite = Annotated[str, *choice(*CIPHERSUITES)]
Protocol = Annotated[str, PlainValidator(_protocol), WithJsonSchema({"type": "string", "examples": ["http/1.1"]})]
ProtocolList = Annotated[list[Protocol], BeforeValidator(one_or_many, json_schema_input_type=Protocol | list[Protocol])]
CertFile = Annotated[str, PlainValidator(_file), WithJsonSchema({"type": "string", "minLength": 1})]
CertFiles = Annotated[
    list[CertFile],
    BeforeValidator(one_or_many, json_schema_input_type=CertFile | list[CertFile]),
]
Version = Annotated[str, PlainValidator(_version), WithJsonSchema({"type": "string", "enum": ["1.2", "1.3"]})]


class TlsSettingsTable(Table):
    """What all TLS listeners have in common."""

    ticket_rotation: Duration = option(
        spec.TlsSettings().ticket_rotation,
        "Until session tickets get a new key; the three before are still taken. 0 = never.",
        shown="8h",
    )
    acme: AcmeTable | None = option(None, "Where certificates come from by themselves.")


class TlsTable(Table):
    """Certificates of a listener, and whom it speaks TLS with."""

    cert: CertFiles = option(
        list, "PEM files with a certificate and its chain, or directories of them; the first is the default."
    )
    acme: AcmeNames = option(list, "Names of a certificate that is got and renewed as `[tls.acme]` says.")
    key: str = option("", "PEM file with the private key of a single cert; '' = inside it, or NAME.key beside it.")
    strict_sni: bool = option(_TLS.strict_sni, "Clients whose server name no certificate covers are turned away.")
    min_version: Version = option(_TLS.min_version, "Oldest version of TLS that is spoken.")
    ciphers: str = option("", "Ciphers of TLS 1.2, as OpenSSL lists them. Empty = ECDHE with AES-GCM or ChaCha20.")
    ciphersuites: list[Ciphersuite] = option(list, "Cipher suites of TLS 1.3, best first. Empty = all.")
    curves: list[Curve] = option(list, "Curves of the key exchange, best first. Empty = X25519, P-256 and others.")
    alpn: ProtocolList = option(
        lambda: list(_TLS.alpn), "Protocols offered by ALPN; with mode tcp none unless set.", shown=["http/1.1"]
    )
    handshake_timeout: Duration = option(
        _TLS.handshake_timeout,
        "For the handshake, and never more than the frontend's header; 0 = header is for both.",
        shown="10s",
    )
    handshake_rate: Pace = option(
        _TLS.handshake_rate, "Handshakes begun, as in 500/s, over all workers; what is over waits.", shown=0
    )
    client_auth: Annotated[str, *choice("none", "optional", "required")] = option(
        _TLS.client_auth, "Whether clients show a certificate."
    )
    client_ca: str = option("", "PEM file of the authorities whose client certificates are good.")
    client_crl: str = option("", "PEM file of revoked client certificates, a list for each authority that signs them.")
    client_depth: Annotated[int, Field(ge=0, le=100)] = option(
        0, "Intermediate certificates that a client's chain may have. 0 = OpenSSL's limit."
    )


def _age(value: object) -> float:
    """A duration, but as long as anybody likes in days: browsers' own lists want a year."""
    days = re.fullmatch(r"([0-9]{1,5})d", value.strip()) if isinstance(value, str) else None
    return float(days[1]) * 86400 if days else duration(value)


Age = Annotated[
    float,
    PlainValidator(_age),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}], "examples": ["365d"]}),
]


class HstsTable(Table):
    """Strict-Transport-Security (RFC 6797) in every answer over TLS."""

    max_age: Age = option(_HSTS.max_age, "How long browsers remember it; 0 has them forget.", shown="365d")
    include_subdomains: bool = option(_HSTS.include_subdomains, "Names below this one too.")
    preload: bool = option(_HSTS.preload, "May be built into browsers, which is hard to take back.")


def _hsts(value: object) -> object:
    """true is the table with nothing in it, false is none, a duration is its max_age."""
    if isinstance(value, bool):
        return {} if value else None
    return {"max_age": value} if isinstance(value, str) else value


Hsts = Annotated[HstsTable | None, BeforeValidator(_hsts, json_schema_input_type=bool | Age | HstsTable)]


_SERVER = spec.ServerTls()


class ServerTlsTable(Table):
    """TLS towards the servers of a backend, and in its health checks."""

    verify: bool = option(_SERVER.verify, "The certificate must be valid and for the server's name.")
    ca: str = option("", "File of authorities (PEM); empty = those of the system.")
    server_name: CheckHost = option("", "Name to ask for and to expect; empty = the host of the server's address.")
    cert: str = option("", "PEM file with a client certificate and its chain.")
    key: str = option("", "PEM file with its private key; empty = in the same file.")
    min_version: Version = option(_SERVER.min_version, "Oldest version of TLS that is spoken.")
    alpn: ProtocolList = option(list, "Mode tcp: protocols offered by ALPN, best first; mode http offers http/1.1.")


def _switch(value: object) -> object:
    """true is the table with nothing in it, false is none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


ServerTls = Annotated[ServerTlsTable | None, BeforeValidator(_switch, json_schema_input_type=bool | ServerTlsTable)]
