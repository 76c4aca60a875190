"""How the servers of a backend are checked, prepared once: addresses, requests, contexts, functions."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from fastlb.control.tls_client import check_context
from fastlb.errors import ConfigError
from fastlb.health.http_probe import HttpProbe, request_of
from fastlb.health.probe import Done, Probe, SocketProbe, Target, TextProbe
from fastlb.health.process_probe import BrokenProbe, CheckTarget, ExecProbe, PythonProbe, find_function
from fastlb.health.udp_probe import DatagramProbe, octets
from fastlb.spec import Address, Backend, CheckTls, HealthCheck, Server

PYTHON = "python:"


@dataclass(frozen=True, slots=True)
class Plan:
    """`begin(loop, done)` begins one check."""

    begin: Callable[[asyncio.AbstractEventLoop, Done], Probe]


def target_of(server: Server, address: str, port: int) -> Target:
    """Where a server is asked: its own address, or what of `address` (a literal) and `port` is given."""
    family, name = server.resolved[0]
    if isinstance(name, str):
        return family, name
    if address:
        family = 10 if ":" in address else 2  # AF_INET6, AF_INET
    return family, (address or name[0], port or name[1])


def plan_of(backend: Backend, server: Server, check: HealthCheck) -> Plan:
    """The checks of one server that has an address. Never fails: what cannot be checked says so each time."""
    try:
        return Plan(_starter(backend, server, check))
    except (OSError, ValueError, ConfigError) as error:
        reason = str(error)
        return Plan(lambda loop, done: BrokenProbe(loop, done, reason))


def _starter(
    backend: Backend, server: Server, check: HealthCheck
) -> Callable[[asyncio.AbstractEventLoop, Done], Probe]:
    target = target_of(server, check.address, check.port)
    timeout = check.timeout
    who = _who(backend, server, target)
    if check.type == "exec":
        environment = {
            "FASTLB_BACKEND": who.backend, "FASTLB_SERVER": who.server, "FASTLB_HOST": who.host or who.path,
            "FASTLB_PORT": str(who.port),
        }  # fmt: skip
        return lambda loop, done: ExecProbe(loop, done, check.command, environment, timeout)
    if check.type.startswith(PYTHON):
        function = find_function(check.type.removeprefix(PYTHON))
        return lambda loop, done: PythonProbe(loop, done, function, who, timeout)
    if check.type == "udp":
        ask, expected = octets(check.send), octets(check.receive)
        return lambda loop, done: DatagramProbe(loop, done, target, timeout, send=ask, receive=expected)
    start = _socket_starter(backend, server, check, target)
    preface = preface_of(server, check)
    if not preface:
        return start

    def begin(loop: asyncio.AbstractEventLoop, done: Done) -> Probe:
        probe = start(loop, done)
        probe.preface = preface
        return probe

    return begin


def preface_of(server: Server, check: HealthCheck) -> bytes:
    """The PROXY header of a check: that it speaks for itself, not for a client."""
    same = not check.address and not check.port
    if not server.send_proxy or not (same if check.send_proxy is None else check.send_proxy):
        return b""
    return b"PROXY UNKNOWN\r\n" if server.send_proxy == "v1" else b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def _socket_starter(
    backend: Backend, server: Server, check: HealthCheck, target: Target
) -> Callable[[asyncio.AbstractEventLoop, Done], SocketProbe]:
    timeout = check.timeout
    context = name = None
    if check.tls is not None:
        context, name = client_context(check.tls), _certificate_name(server, check, check.tls.server_name)
    elif backend.tls is not None:
        context = check_context(backend.tls, backend.mode)
        name = _certificate_name(server, check, backend.tls.server_name)
    if check.type == "tcp":
        if not check.send and not check.receive:
            return lambda loop, done: SocketProbe(loop, done, target, timeout, context, name)
        send, receive = check.send.encode(), check.receive.encode()
        return lambda loop, done: TextProbe(loop, done, target, timeout, context, name, send=send, receive=receive)
    port = server.address.port
    request = request_of(check, Address(server.host, port) if server.host else server.address)
    pattern = None
    if check.body or check.body_regex:
        pattern = re.compile((check.body_regex or re.escape(check.body)).encode())
    return lambda loop, done: HttpProbe(loop, done, target, check, request, context, name, pattern)


def _who(backend: Backend, server: Server, target: Target) -> CheckTarget:
    where = target[1]
    if isinstance(where, str):
        return CheckTarget(backend.name, server.name, "", 0, where)
    return CheckTarget(backend.name, server.name, where[0], where[1])


def _certificate_name(server: Server, check: HealthCheck, name: str) -> str | None:
    """The name that goes out as SNI and that the certificate must be for."""
    host = re.sub(r":\d+$", "", check.host).strip("[]")
    return name or host or server.host or server.address.host or None


_contexts: dict[CheckTls, ssl.SSLContext] = {}


def client_context(tls: CheckTls) -> ssl.SSLContext:
    """The context of connections to servers; one for all that ask for the same. Raises OSError for a wrong `ca`."""
    context = _contexts.get(tls)
    if context is None:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _contexts[tls] = context
    return context
