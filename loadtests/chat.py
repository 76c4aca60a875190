"""The origin's chat rooms: WebSocket (RFC 6455) over an asyncio transport, by the sans-I/O side of `websockets`."""

from __future__ import annotations

import asyncio

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol


class Rooms:
    """Who is in which room of this process."""

    def __init__(self) -> None:
        self._rooms: dict[str, set[ChatConnection]] = {}

    def enter(self, room: str, who: ChatConnection) -> None:
        self._rooms.setdefault(room, set()).add(who)

    def leave(self, room: str, who: ChatConnection) -> None:
        self._rooms.get(room, set()).discard(who)

    def say(self, room: str, text: bytes) -> None:
        for one in self._rooms.get(room, ()):
            one.tell(text)


class ChatConnection:
    """One member: the path names the room."""

    def __init__(self, transport: asyncio.Transport, rooms: Rooms, server: str) -> None:
        self._transport, self._rooms, self._server = transport, rooms, server
        self._protocol = ServerProtocol()
        self._room = ""

    def received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                response = self._protocol.accept(event)
                response.headers["X-Origin"] = self._server
                self._protocol.send_response(response)
                self._room = event.path
                self._rooms.enter(self._room, self)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._rooms.say(self._room, bytes(event.data))
        self._flush()

    def tell(self, text: bytes) -> None:
        self._protocol.send_text(text)
        self._flush()

    def lost(self) -> None:
        self._rooms.leave(self._room, self)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:  # the protocol's sign for the end
                self._transport.close()
