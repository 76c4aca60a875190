"""Looks whether the certificates that a configuration names can be used, before anything starts with them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from .checks_acme import acme_checks
from .model import Config
from .models_tls import ServerTlsTable, TlsTable
from .paths import Path as Place
from .structure import Finding


def certificates(config: Config, wrote: Callable[[Place, str], bool]) -> Iterator[Finding]:
    """Findings in the model's own paths. Reads the files; O(certificates)."""
    for name, frontend in config.frontends.items():
        for index, listener in enumerate(frontend.listen):
            if listener.tls is not None:
                where = ("frontends", name, "listen", index, "tls")
                if not listener.tls.cert and not any(wrote(where, key) for key in ("cert", "acme")):
                    reason = "this key is needed: a certificate, or with acme the names of one that comes by itself"
                    yield Finding((*where, "cert"), reason, missing=True)
                for key, reason in (*_pairs(listener.tls), *_clients(listener.tls), *_ciphers(listener.tls)):
                    yield Finding((*where, key), reason)
    yield from acme_checks(config)
    for name, backend in config.backends.items():
        if backend.tls is not None:
            for key, reason in _servers(backend.tls):
                yield Finding(("backends", name, "tls", key), reason)
            if backend.tls.verify and not backend.tls.server_name and any(s.address.path for s in backend.servers):
                reason = "servers on Unix sockets have no name that their certificate could be for; set server_name"
                yield Finding(("backends", name, "tls", "server_name"), reason)


def _servers(tls: ServerTlsTable) -> Iterator[tuple[str, str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca:
        try:
            context.load_verify_locations(tls.ca)
        except ssl.SSLError:
            yield "ca", "holds no certificates in PEM form"
        except OSError as error:
            yield "ca", f"cannot be read: {error.strerror}"
        if not tls.verify:
            yield "ca", "has no effect with verify = false"
    if tls.key and not tls.cert:
        yield "key", "goes with cert"
    if tls.cert:
        yield from _problems(tls.cert, tls.key, several=False)


def _pairs(tls: TlsTable) -> Iterator[tuple[str, str]]:
    if tls.key and len(tls.cert) > 1:
        yield "key", "goes with a single certificate file; of several each has its key inside or in NAME.key beside it"
        return
    for cert in tls.cert:
        yield from _problems(cert, tls.key, several=len(tls.cert) > 1)


def _problems(cert: str, key: str, *, several: bool) -> Iterator[tuple[str, str]]:
    path = Path(cert)
    try:
        files = sorted(p for p in path.iterdir() if p.suffix in (".pem", ".crt")) if path.is_dir() else [path]
    except OSError as error:
        yield "cert", f"cannot be read: {error.strerror}"
        return
    if not files:
        yield "cert", "the directory holds no .pem or .crt file"
    if path.is_dir() and key:
        yield "key", "goes with a certificate file; in a directory each NAME.pem has its key inside or in NAME.key"
    for file in files:
        beside = file.with_suffix(".key")
        secret = Path(key) if key else beside if (several or path.is_dir()) and beside.exists() else None
        for each, at in ((file, "cert"), (secret, "key" if key else "cert")):
            try:
                if each is not None:
                    each.read_bytes()
            except OSError as error:
                yield at, f"{each} cannot be read: {error.strerror}"
                return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, secret, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            yield "cert", f"{file}: {_words(error, secret)}"


def _clients(tls: TlsTable) -> Iterator[tuple[str, str]]:
    if tls.client_auth == "none":
        for key in ("client_ca", "client_crl", "client_depth"):
            if getattr(tls, key):
                yield key, 'has no effect without client_auth = "optional" or "required"'
        return
    if not tls.client_ca:
        yield "client_auth", "needs client_ca: the authorities whose client certificates are good"
    for key, what in (("client_ca", "certificates"), ("client_crl", "list of revoked certificates")):
        file = getattr(tls, key)
        if not file:
            continue
        try:
            Path(file).read_bytes()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
        except ssl.SSLError:
            yield key, f"holds no {what} in PEM form"
        except OSError as error:
            yield key, f"cannot be read: {error.strerror}"


def _ciphers(tls: TlsTable) -> Iterator[tuple[str, str]]:
    if tls.ciphers:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(tls.ciphers)
        except ssl.SSLError:
            yield "ciphers", "no cipher of TLS 1.2 that this OpenSSL knows; see `openssl ciphers -v`"
        if tls.min_version == "1.3":
            yield "ciphers", "has no effect from TLS 1.3 on; use ciphersuites"


def _no_password() -> str:
    raise ValueError("the private key is encrypted; fastlb asks nobody for a password at start")


def _words(error: Exception, secret: Path | None) -> str:
    reason = getattr(error, "reason", None)
    if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "KEY_TYPE_MISMATCH"):
        return "the private key is not the certificate's"
    if reason in ("PEM_LIB", "NO_START_LINE", None) and isinstance(error, ssl.SSLError):
        return "no certificate with its private key in PEM form" + ("" if secret else "; name the key's file in `key`")
    return str(error) if isinstance(error, ValueError) else f"cannot be used: {reason}"
