"""Turns the `tls` of a listener into what its handshakes use, from the files as they were read."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastlb.control.certificate import Leaf, client_certificate, leaf_of
from fastlb.control.self_signed import stand_in
from fastlb.engine.tls_context import TlsServer, set_ciphersuites, set_depth, set_groups
from fastlb.errors import ConfigError, Problem
from fastlb.spec import Frontend, Listen, Pem, Spec, Tls

# Forward secrecy and authenticated encryption only (Mozilla's intermediate list without its DHE suites).
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def with_certificates(spec: Spec) -> Spec:
    """`spec` with what the files of its listeners hold now. Raises ConfigError when one cannot be used. Blocks."""
    if not any(listen.tls for f in spec.frontends for listen in f.listen):
        return spec
    frontends = []
    for f in spec.frontends:
        listens = (dataclasses.replace(one, tls=loaded(one.tls)) if one.tls is not None else one for one in f.listen)
        frontends.append(dataclasses.replace(f, listen=tuple(listens)))
    return dataclasses.replace(spec, frontends=tuple(frontends))


def loaded(tls: Tls) -> Tls:
    """`tls` with the contents of its files. Raises ConfigError when one cannot be read or used."""
    pems = []
    try:
        for cert, key in files(tls):
            text = cert.read_bytes()
            if key is not None:
                text += b"\n" + key.read_bytes()
            pems.append(Pem(str(cert), text))
        if tls.acme:
            pems.append(kept(tls))
        authorities = Path(tls.client_ca).read_bytes() if tls.client_ca else b""
        revoked = Path(tls.client_crl).read_bytes() if tls.client_crl else b""
    except OSError as error:
        problem = Problem("tls", str(error.filename), f"cannot be read: {error.strerror}")
        raise ConfigError([problem]) from error
    found = dataclasses.replace(tls, pems=tuple(pems), authorities=authorities, revoked=revoked)
    server_tls(found)
    return found


def files(tls: Tls) -> Iterator[tuple[Path, Path | None]]:
    """Certificate files in their order, each with the file of its key, None = inside. Raises OSError, ConfigError."""
    for name in tls.cert:
        path = Path(name)
        if not path.is_dir():
            beside = path.with_suffix(".key")
            yield path, Path(tls.key) if tls.key else beside if len(tls.cert) > 1 and beside.exists() else None
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix in (".pem", ".crt") and p.is_file())
        if not inside:
            raise ConfigError([Problem("tls.cert", name, "the directory holds no .pem or .crt file")])
        for file in inside:
            key = file.with_suffix(".key")
            yield file, key if key.exists() else None


def kept(tls: Tls) -> Pem:
    """What ACME has got; until there is something, a certificate that nobody trusts. Raises OSError."""
    try:
        return Pem(tls.acme_cert, Path(tls.acme_cert).read_bytes())
    except FileNotFoundError:
        return stand_in(tls.acme)


def watched(tls: Tls) -> Iterator[Path]:
    """Every file and directory that `loaded` looks at; of those that cannot be listed, what is known of them."""
    for name in tls.cert:
        yield Path(name)
    yield from (Path(name) for name in (tls.key, tls.client_ca, tls.client_crl) if name)
    if tls.acme_cert and Path(tls.acme_cert).exists():
        yield Path(tls.acme_cert)
    try:
        for cert, key in files(tls):
            yield cert
            if key is not None:
                yield key
    except (OSError, ConfigError):
        return


def tls_listeners(spec: Spec) -> Iterator[tuple[Frontend, int, Listen, Tls]]:
    """Every listener that speaks TLS, with its place in its frontend."""
    for f in spec.frontends:
        for index, listen in enumerate(f.listen):
            if listen.tls is not None:
                yield f, index, listen, listen.tls


def server_tls(tls: Tls, *, head: float = 0.0, workers: int = 1) -> TlsServer:
    """What the handshakes of a listener use: a context for each set of certificates, chosen by the server name.

    The first certificate is the default, for clients whose name no certificate covers; those for the same name with
    another kind of key stand beside each other, and the client's abilities pick one. `head`: seconds for the first
    request after the handshake, whose own deadline is `tls.handshake_timeout`. Raises ConfigError. O(certificates).
    """
    if not tls.pems:
        return server_tls(loaded(tls), head=head, workers=workers)
    leaves = []
    for pem in tls.pems:
        try:
            leaves.append(leaf_of(pem))
        except ValueError as error:
            raise _wrong("tls.cert", pem.name, f"holds no certificate in PEM form ({error})") from error
    contexts: dict[tuple[int, ...], ssl.SSLContext] = {}

    def context(indices: Iterable[int]) -> ssl.SSLContext:
        chosen = tuple(indices)
        if chosen not in contexts:
            contexts[chosen] = _context(tls, [tls.pems[i] for i in chosen])
        return contexts[chosen]

    by_name: dict[str, dict[str, int]] = {}
    for index, leaf in enumerate(leaves):
        for name in leaf.names:
            by_name.setdefault(name, {}).setdefault(leaf.kind, index)
    default = context(_beside(leaves))
    names = {name: context(sorted(kinds.values())) for name, kinds in by_name.items()}
    several = len(contexts) > 1
    return TlsServer(
        default,
        names if several or tls.strict_sni else {},
        strict=tls.strict_sni,
        asks=tls.client_auth != "none",
        handshake=tls.handshake_timeout,
        head=head,
        rate=tls.handshake_rate / max(workers, 1),
        group=_group(tls),
        describe=client_certificate,
    )


Made = tuple[tuple[object, ...], TlsServer]  # what it was made from, and what the handshakes of a listener use


def listener_tls(f: Frontend, tls: Tls, spec: Spec, before: Made | None = None) -> Made:
    """The TLS of a listener of `f`: that of `before` as long as nothing of it changes. Raises ConfigError."""
    source = (tls, tls.pems, tls.authorities, tls.revoked, f.timeouts.header, spec.global_.workers)
    if before is not None and before[0] == source and tls.pems:
        return before
    return source, server_tls(tls, head=f.timeouts.header, workers=spec.global_.workers)


def _beside(leaves: list[Leaf]) -> list[int]:
    """The first certificate and those of other kinds that share a name with it."""
    first = leaves[0]
    kinds = {first.kind: 0}
    for index, leaf in enumerate(leaves):
        if set(leaf.names) & set(first.names):
            kinds.setdefault(leaf.kind, index)
    return sorted(kinds.values())


def _group(tls: Tls) -> bytes:
    """Sessions are resumed only where the same clients are let in, and a new list of revoked ones ends them."""
    text = repr((tls.client_auth, tls.client_depth)).encode()
    return hashlib.sha256(text + b"\0" + tls.authorities + b"\0" + tls.revoked).digest()


def _context(tls: Tls, pems: list[Pem]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[tls.min_version]
    # A ticket each time: one that is used comes with the next, and making it is a good part of a resumed handshake.
    context.num_tickets = 1
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    try:
        context.set_ciphers(tls.ciphers or CIPHERS)
    except ssl.SSLError as error:
        raise _wrong("tls.ciphers", tls.ciphers, "no cipher of TLS 1.2 that this OpenSSL knows") from error
    if tls.ciphersuites and not set_ciphersuites(context, ":".join(tls.ciphersuites)):
        raise _wrong("tls.ciphersuites", ", ".join(tls.ciphersuites), "OpenSSL knows no such cipher suite of TLS 1.3")
    if tls.curves and not set_groups(context, ":".join(tls.curves)):
        raise _wrong("tls.curves", ", ".join(tls.curves), "OpenSSL knows no such curve")
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    for pem in pems:
        load_chain(context, pem)
    if tls.client_auth != "none":
        _ask_clients(context, tls)
    return context


def _ask_clients(context: ssl.SSLContext, tls: Tls) -> None:
    context.verify_mode = _VERIFY[tls.client_auth]
    try:
        with _as_file(tls.authorities) as path:
            context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise _wrong("tls.client_ca", tls.client_ca, "no certificates in PEM form") from error
    if tls.client_depth and not set_depth(context, tls.client_depth):
        raise _wrong("tls.client_depth", str(tls.client_depth), "cannot be set with this interpreter's OpenSSL")
    if tls.revoked:
        try:
            with _as_file(tls.revoked) as path:
                context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise _wrong("tls.client_crl", tls.client_crl, "no list of revoked certificates in PEM form") from error
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def load_chain(context: ssl.SSLContext, pem: Pem) -> None:
    """Gives the context a certificate with its chain and key, beside those of other kinds. Raises ConfigError."""
    try:
        with _as_file(pem.text) as path:
            context.load_cert_chain(path, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise _wrong("tls.cert", pem.name, f"cannot be used: {why}") from error


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


class _as_file:
    """A file in memory: the ssl module takes no PEM text with a key, only the name of a file."""

    def __init__(self, text: bytes) -> None:
        self._fd = os.memfd_create("fastlb pem", os.MFD_CLOEXEC)
        os.write(self._fd, text)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _wrong(key: str, value: str, reason: str) -> ConfigError:
    return ConfigError([Problem(key, value, reason)])
