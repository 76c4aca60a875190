"""Reads whole connections with fastlb's parsers: head, body by its framing, next head."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastlb.http import ChunkedDecoder, Refused, RequestParser, ResponseParser


@dataclass
class Message:
    start: bytes  # method or status
    target: bytes = b""
    version: tuple[int, int] = (1, 1)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    framing: str = ""
    body: bytes = b""
    complete: bool = False


@dataclass
class Stream:
    messages: list[Message]
    end: str  # end, more, close, tunnel, or refused
    reason: str = ""


def read_requests(data: bytes) -> Stream:
    messages: list[Message] = []
    parser = RequestParser(exact=True, header_bytes=1 << 16, header_count=256)
    while True:
        if not data.strip(b"\r\n"):  # empty lines between messages
            return Stream(messages, "end")
        try:
            if not parser.feed(data):
                return Stream(messages, "more")
            message = Message(parser.method, parser.target, parser.version, parser.headers, parser.framing)
            messages.append(message)
            data = read_body(message, parser.content_length, parser.rest)
        except Refused as e:
            return Stream(messages, "refused", f"{e.status} {e.reason}")
        if not message.complete:
            return Stream(messages, "more")
        if parser.method == b"CONNECT":
            return Stream(messages, "tunnel")
        if not parser.keep_alive:
            return Stream(messages, "close")


def read_responses(data: bytes, method: bytes, eof: bool) -> Stream:
    """The answers to one request."""
    messages: list[Message] = []
    parser = ResponseParser(method, exact=True)
    while True:
        try:
            if not parser.feed(data):
                return Stream(messages, "more")
            status = parser.status
            message = Message(b"%d" % status, b"", parser.version, parser.headers, parser.framing)
            messages.append(message)
            if parser.framing == "eof":
                message.body, message.complete = parser.rest, eof
                return Stream(messages, "close")
            if parser.framing == "tunnel":
                message.complete = True
                return Stream(messages, "tunnel")
            data = read_body(message, parser.content_length, parser.rest)
        except Refused as e:
            return Stream(messages, "refused", f"{e.status} {e.reason}")
        if not message.complete:
            return Stream(messages, "more")
        if status >= 200:
            return Stream(messages, "end")


def read_body(message: Message, length: int, data: bytes) -> bytes:
    """Takes the body off the data; what follows it."""
    if message.framing == "chunked":
        decoder = ChunkedDecoder(exact=True)
        message.body = decoder.feed(data)
        message.complete = decoder.complete
        return decoder.rest
    if message.framing == "length":
        message.body = data[:length]
        message.complete = len(data) >= length
        return data[length:]
    message.complete = True
    return data
