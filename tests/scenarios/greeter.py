"""A server of mode tcp that says who it is."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from tests.e2e.wire import Wire


class Greeter:
    """Says its name and a line end to every client, then sends back what it gets.

    While it is `ill` it says nothing, and resets the connection when the first byte comes. A thread a connection.
    `served` counts greetings.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ill = False
        self.served = 0
        self._open: list[socket.socket] = []
        self._where = ("127.0.0.1", 0)
        self.start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._where)

    def start(self) -> None:
        """Listens (again, on the same port)."""
        self._listener = socket.create_server(self._where, backlog=256)
        self._where = self._listener.getsockname()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def leave(self) -> None:
        """Listens no more; the sessions that there are go on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def stop(self) -> None:
        self.leave()
        for sock in self._open:
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        if self.ill:
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            return
        self.served += 1
        with contextlib.suppress(OSError), sock:
            sock.sendall(f"{self.name}\n".encode())
            while data := sock.recv(4096):
                sock.sendall(data)


def greeted(client: Wire) -> str:
    """The name of the server that a client got."""
    return client.until(b"\n").decode().strip()


def echoed(client: Wire) -> bool:
    """The session lives."""
    client.send("ping")
    return client.exactly(4) == b"ping"
