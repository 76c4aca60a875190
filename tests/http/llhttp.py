"""The second opinion: llhttp (httptools) reads what fastlb accepted, and must read the same.

llhttp is a browser-grade parser of another school; where it refuses a message that fastlb takes, or cuts it elsewhere,
two hops could disagree, which is what smuggling is made of. The other direction is free: fastlb is stricter.
"""

from __future__ import annotations

import functools
from typing import Any

import httptools

from fastlb.http import ChunkedDecoder, Refused, RequestParser, ResponseParser


class Disagreement(AssertionError):
    """llhttp reads an accepted message differently."""


class Events:
    """Collects what llhttp says about one connection."""

    def __init__(self, response: bool = False) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep_alive: bool | None = None
        self.body = b""
        self.complete = 0
        self.error = ""
        self.upgrade = False
        self.parser: Any = httptools.HttpResponseParser(self) if response else httptools.HttpRequestParser(self)

    def on_url(self, part: bytes) -> None:
        self.url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.keep_alive is None:  # not a trailer
            self.headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.complete += 1

    def feed(self, data: bytes) -> Events:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.upgrade = True
        except httptools.HttpParserError as e:
            if "Pause on CONNECT/Upgrade" in str(e):  # what httptools makes of it in responses
                self.upgrade = True
            else:
                self.error = f"{type(e).__name__}: {e}"
        return self


@functools.cache
def knows(method: bytes) -> bool:
    """llhttp has a list of methods and refuses the others."""
    return not Events().feed(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").error


def same(what: str, ours: object, theirs: object, raw: bytes) -> None:
    if ours != theirs:
        raise Disagreement(f"{what}: fastlb {ours!r}, llhttp {theirs!r}, of {raw!r}")


def check_request(raw: bytes, parser: RequestParser) -> None:
    """`parser` has accepted the head that `raw` begins with."""
    head = raw[: parser.length]
    if not knows(parser.method):
        # put a method there that it knows: everything else must still be read the same way
        at = head.index(parser.line)
        head = head[:at] + b"GET" + head[at + len(parser.method) :]
        parser = RequestParser(header_bytes=1 << 20, uri=1 << 20)
        if not parser.feed(head):
            raise Disagreement(f"not complete with another method: {head!r}")
    events = Events().feed(head)
    same("error", "", events.error, raw)
    if events.keep_alive is None:
        raise Disagreement(f"llhttp wants more head: {raw!r}")
    same("method", parser.method, events.parser.get_method(), raw)
    same("target", parser.target, events.url, raw)
    same("version", f"1.{parser.version[1]}", events.parser.get_http_version(), raw)
    same("headers", parser.headers, events.headers, raw)
    if Events().feed(head[:-1]).keep_alive is not None:
        raise Disagreement(f"llhttp ends the head sooner: {raw!r}")
    if events.upgrade:
        return  # llhttp stops here: CONNECT, or an upgrade that it takes for accepted
    options = {o.strip(b" \t").lower() for n, v in parser.headers if n.lower() == b"connection" for o in v.split(b",")}
    # llhttp takes Proxy-Connection for Connection (RFC 9112 appendix C.2.2), and in HTTP/1.0 it lets keep-alive win
    # over close, where section 9.3 asks for close first
    if parser.seen(b"Proxy-Connection") is None and not {b"close", b"keep-alive"} <= options:
        same("keep-alive", parser.keep_alive, events.keep_alive, raw)
    check_framing(events, parser.framing, parser.content_length, raw)


def check_response(raw: bytes, parser: ResponseParser) -> None:
    """As check_request, for answers to a GET."""
    head = raw[: parser.length]
    events = Events(response=True).feed(head)
    same("error", "", events.error, raw)
    if events.keep_alive is None:
        raise Disagreement(f"llhttp wants more head: {raw!r}")
    same("status", parser.status, events.parser.get_status_code(), raw)
    same("version", f"1.{parser.version[1]}", events.parser.get_http_version(), raw)
    same("headers", parser.headers, events.headers, raw)
    if Events(response=True).feed(head[:-1]).keep_alive is not None:
        raise Disagreement(f"llhttp ends the head sooner: {raw!r}")
    if events.upgrade or parser.framing == "tunnel":
        return
    check_framing(events, parser.framing, parser.content_length, raw)


def check_framing(events: Events, framing: str, length: int, raw: bytes) -> None:
    if framing == "none":
        same("end of a message without body", 1, events.complete, raw)
        return
    same("end before the body", 0, events.complete, raw)
    if framing == "chunked":
        events.feed(b"3\r\nabc\r\n0\r\n\r\n")
        same("chunked body", (1, b"abc", ""), (events.complete, events.body, events.error), raw)
    elif framing == "length":
        if length <= 4096:
            events.feed(b"x" * (length - 1))
            same("end before the last byte", 0, events.complete, raw)
            events.feed(b"x")
            same("body by length", (1, b"x" * length), (events.complete, events.body), raw)
        else:
            events.feed(b"x" * 4096)
            same("long body", (0, b"x" * 4096), (events.complete, events.body), raw)
    else:
        events.feed(b"0\r\n\r\n")
        same("body until the end", (0, b"0\r\n\r\n"), (events.complete, events.body), raw)


def check_chunked(raw: bytes) -> None:
    """A chunked body that fastlb decodes: llhttp must find the same bytes and the same end, or refuse it."""
    decoder = ChunkedDecoder(exact=True)
    try:
        body = decoder.feed(raw)
    except Refused:
        return
    events = Events().feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    used = len(raw) - len(decoder.rest) if decoder.complete else len(raw)
    events.feed(raw[:used])
    if events.error:
        return  # white space around the parts of an extension, which the RFC allows
    same("decoded body", (body, int(decoder.complete)), (events.body, events.complete), raw)
