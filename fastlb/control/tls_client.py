"""TLS towards servers: the context of a backend, for its connections and its health checks."""

from __future__ import annotations

import dataclasses
import ipaddress
import ssl
from pathlib import Path

from fastlb.control.tls import VERSIONS, load_chain
from fastlb.engine.libssl import problem as libssl_problem
from fastlb.engine.tls_context import TlsClient
from fastlb.errors import ConfigError, Problem
from fastlb.spec import Mode, Pem, Server, ServerTls

_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}


def loaded_client(tls: ServerTls) -> ServerTls:
    """`tls` with the contents of its files. Raises ConfigError when one cannot be read or used. Blocks."""
    try:
        pem = None
        if tls.cert:
            text = Path(tls.cert).read_bytes()
            pem = Pem(tls.cert, text + b"\n" + Path(tls.key).read_bytes() if tls.key else text)
        authorities = Path(tls.ca).read_bytes() if tls.ca else b""
    except OSError as error:
        problem = Problem("tls", str(error.filename), f"cannot be read: {error.strerror}")
        raise ConfigError([problem]) from error
    found = dataclasses.replace(tls, pem=pem, authorities=authorities)
    client_context(found)
    return found


def check_context(tls: ServerTls, mode: str) -> ssl.SSLContext:
    """For health checks, which leave the comparison of names to the ssl module. Raises as client_context."""
    return client_context(tls, mode, check=True)


def client_context(tls: ServerTls, mode: str = Mode.HTTP, *, check: bool = False) -> ssl.SSLContext:
    """One for all connections that ask for the same. Raises ConfigError when what the files hold cannot be used."""
    if (tls.cert and tls.pem is None) or (tls.ca and not tls.authorities):
        tls = loaded_client(tls)
    alpn = ("http/1.1",) if mode == Mode.HTTP else tls.alpn
    key = (tls, tls.pem, tls.authorities, alpn, check)
    context = _contexts.get(key)
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = VERSIONS[tls.min_version]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        # The engine's connections check the name themselves: it is another one for each server.
        context.check_hostname = tls.verify and (check or bool(libssl_problem()))
        context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if not tls.verify:
            pass
        elif tls.ca:
            try:
                context.load_verify_locations(cadata=tls.authorities.decode("ascii", "replace"))
            except (ssl.SSLError, ValueError) as error:
                raise ConfigError([Problem("tls.ca", tls.ca, "holds no certificates in PEM form")]) from error
        else:
            context.load_default_certs()
        if tls.pem is not None:
            load_chain(context, tls.pem)
        while len(_contexts) >= 64:
            del _contexts[next(iter(_contexts))]
        _contexts[key] = context
    return context


def client_tls(tls: ServerTls, server: Server, mode: str = Mode.HTTP) -> TlsClient:
    """What connections to `server` use, its last session included."""
    name = tls.server_name or server.host or server.address.host
    who = f"server {server.name} at {server.address}"
    return TlsClient(client_context(tls, mode), name, verify_name=tls.verify, is_address=_literal(name), who=who)


def _literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
