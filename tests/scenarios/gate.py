"""A server that holds its answers back."""

from __future__ import annotations

import threading

from tests.e2e.servers import Answering
from tests.e2e.wire import Message


class Gate:
    """A server that notes who came, and answers when it is told to."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.go = threading.Event()
        self.came: list[str] = []
        self.server = Answering(self._answer, host)

    def _answer(self, request: Message) -> bytes:
        self.came.append(request.target)
        self.go.wait(60)
        return b"done"
