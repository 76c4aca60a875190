"""Turns the `tls` of a listener into the SSLContext that its handshakes use."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from fastlb.errors import ConfigError, Problem
from fastlb.spec import Tls

ALPN = ["http/1.1"]


def server_context(tls: Tls) -> ssl.SSLContext:
    """The context of a listener; with several certificates the client's server name picks one.

    `tls.cert` is a PEM file (chain, leaf first, the key inside or in `tls.key`), or a directory of such files. The
    first file in the order of their names is the default, for clients whose name no certificate covers.
    Raises ConfigError when a file cannot be used. O(certificates).
    """
    pairs = list(_files(tls))
    contexts = [_context(cert, key) for cert, key in pairs]
    default = contexts[0]
    if len(contexts) > 1:
        names: dict[str, ssl.SSLContext] = {}
        for (cert, _), context in zip(pairs, contexts, strict=True):
            for name in names_of(cert):
                names.setdefault(name, context)
        default.sni_callback = _chooser(names)
    return default


def names_of(cert: Path) -> list[str]:
    """DNS names (lower case, '*.' kept) and addresses that the first certificate of a PEM file is for."""
    leaf = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [n.lower() for n in found.get_values_for_type(x509.DNSName)] + [
        str(a) for a in found.get_values_for_type(x509.IPAddress)
    ]


def _files(tls: Tls) -> list[tuple[Path, Path | None]]:
    path = Path(tls.cert)
    if not path.is_dir():
        return [(path, Path(tls.key) if tls.key else None)]
    found: list[tuple[Path, Path | None]] = []
    for file in sorted(p for p in path.iterdir() if p.suffix in (".pem", ".crt") and p.is_file()):
        key = file.with_suffix(".key")
        found.append((file, key if key.exists() else None))
    if not found:
        raise ConfigError([Problem("tls.cert", tls.cert, "the directory holds no .pem or .crt file")])
    return found


def _context(cert: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Forward secrecy and authenticated encryption only (Mozilla's intermediate list without its DHE suites).
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(ALPN)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise ConfigError([Problem("tls.cert", str(cert), f"cannot be used: {why}")]) from error
    return context


def _chooser(
    names: dict[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    def choose(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if not name:
            return
        name = name.lower().rstrip(".")
        found = names.get(name) or names.get("*." + name.partition(".")[2])
        if found is not None:
            connection.context = found

    return choose
