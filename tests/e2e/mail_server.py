"""A mail server that takes letters over TLS only, begun by STARTTLS: `mail_server.py PORT CERTIFICATE [proxied]`.

A line of JSON for each letter. With `proxied` every connection begins with a PROXY header.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

from aiosmtpd.proxy_protocol import ProxyData
from aiosmtpd.smtp import SMTP, Envelope, Session


class Box:
    """What one client is answered with."""

    def __init__(self) -> None:
        self._introduced = ""  # by the PROXY header; the session forgets it with STARTTLS

    async def handle_PROXY(self, server: SMTP, session: Session, envelope: Envelope, proxy: ProxyData) -> bool:
        self._introduced = str(proxy.src_addr)
        return True

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        text = envelope.content or b""
        told = {
            "client": self._introduced or session.peer[0],  # type: ignore[index]
            "tls": session.ssl is not None,
            "lines": text.count(b"x" * 60 + b"\r\n"),  # type: ignore[arg-type]
        }
        print(json.dumps(told), flush=True)
        return "250 taken"


async def serve(port: int, certificate: str, *, proxied: bool) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        timeout = 30.0 if proxied else None
        return SMTP(Box(), tls_context=context, require_starttls=True, proxy_protocol_timeout=timeout, loop=loop)

    server = await loop.create_server(connection, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], proxied="proxied" in sys.argv[3:]))
