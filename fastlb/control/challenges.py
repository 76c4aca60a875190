"""What ACME servers look for, handed to a worker's frontends and listeners."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Protocol

from fastlb.control.tls import load_chain
from fastlb.engine.rules import Respond
from fastlb.engine.tls_context import TlsServer
from fastlb.spec import Challenges


class Front(Protocol):
    """A frontend, as far as it answers."""

    def challenge(self, answers: dict[bytes, Any]) -> None: ...


def present(challenges: Challenges, frontends: Iterable[Front], listeners: Iterable[TlsServer]) -> None:
    """Has all of them show these, and nothing else any more. Raises ConfigError for a certificate that is none."""
    answers = {
        path.encode(): Respond(200, body, "application/octet-stream", (("Cache-Control", "no-store"),))
        for path, body in challenges.answers
    }
    contexts = {}
    for name, pem in challenges.certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["acme-tls/1"])
        load_chain(context, pem)
        contexts[name.encode()] = context
    for front in frontends:
        front.challenge(answers)
    for listener in listeners:
        listener.challenge(contexts)
