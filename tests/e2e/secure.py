"""One end of a TLS connection that the test plays step by step: close_notify, FIN and reset are told apart."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Self

from .wire import PATIENCE, BrokenOff, Origin, Wire


class SecureWire(Wire):
    """A TLS connection over memory buffers; the handshake is done when it is made."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server: bool,
        name: str | None = None,
        words: bytes = b"",
    ) -> None:
        """`words` are sent in one piece with the last of the handshake."""
        super().__init__(sock)
        self.notified = False  # the other side has said that it is at its end
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise BrokenOff(b"", reset=False) from None
            except ssl.SSLError:
                self._flush()  # the alert that tells why
                raise
            else:
                if words:
                    self.tls.write(words)
                self._flush()
                return

    def _flush(self) -> None:
        if waiting := self._out.read():
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # reading tells how it ended
                self.sock.sendall(waiting)

    def _fill(self) -> bool:
        try:
            got = self.sock.recv(262144)
        except TimeoutError:
            raise AssertionError(f"nothing came within {PATIENCE:g} s after {self.held[-300:]!r}") from None
        except ConnectionResetError:
            raise BrokenOff(self.held, reset=True) from None
        self._in.write(got)
        return bool(got)

    def _more(self) -> bool:
        while True:
            try:
                got = self.tls.read(262144)
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    return False
                continue
            except ssl.SSLZeroReturnError:
                got = b""
            self.notified = not got
            self.held += got
            return bool(got)

    def send(self, *parts: bytes | str) -> Self:
        self.tls.write(b"".join(p.encode("latin-1") if isinstance(p, str) else p for p in parts))
        self._flush()
        return self

    def notify(self) -> Self:
        """Says close_notify and leaves the connection open."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()
        return self

    def finish(self) -> Self:
        return super(SecureWire, self.notify()).finish()

    def ended(self) -> str:
        """Waits for the other side's end: "notify" (orderly), "fin" (cut off) or "reset"."""
        try:
            got = self.rest()
        except BrokenOff:
            return "reset"
        assert not got, f"bytes instead of the end: {got[:300]!r}"
        return "notify" if self.notified else "fin"


class SecureOrigin(Origin):
    """An origin that ends TLS; remembers the names that were asked for."""

    def __init__(self, context: ssl.SSLContext, *, keep: bool = False) -> None:
        super().__init__(keep=keep)
        self.context = context
        self.names: list[str | None] = []
        context.sni_callback = lambda _s, asked, _c: self.names.append(asked)

    def accept(self) -> SecureWire:
        return SecureWire(super().accept().sock, self.context, server=True)

    def accept_plain(self) -> Wire:
        """The next connection as it is, before any TLS."""
        return super().accept()


def server_context(cert: Path, *, clients: Path | None = None, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Of a server with this certificate; `clients`: authorities of those whom it lets in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(*alpn: str, version: str = "") -> ssl.SSLContext:
    """Of a client that believes everybody; `version`: the only one it speaks, 1.2 or 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version:
        only = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        context.minimum_version = context.maximum_version = only
    return context
