"""An HTTP/1.1 check. Responses are parsed with httptools (llhttp); where the body does not matter, the verdict is
reached at the end of the head."""

from __future__ import annotations

import asyncio
import re
import ssl

import httptools

from fastlb import __version__
from fastlb.health.probe import MAX_ANSWER, Done, SocketProbe, Target
from fastlb.health.verdict import Word
from fastlb.spec import Address, HealthCheck


def request_of(check: HealthCheck, address: Address) -> bytes:
    """The bytes that an HTTP check sends; headers of the check replace those of the same name."""
    host = check.host or ("localhost" if address.path else str(address))
    fields = {
        "host": ("Host", host),
        "user-agent": ("User-Agent", f"fastlb/{__version__} health check"),
        "accept": ("Accept", "*/*"),
        "connection": ("Connection", "close"),
    }
    for name, value in check.headers:
        fields[name.lower()] = (name, value)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.values())
    return f"{check.method} {check.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


class HttpProbe(SocketProbe):
    """Sends a request and judges the status and, where it is asked for, the body."""

    __slots__ = ("_body", "_check", "_code", "_parser", "_pattern", "_read", "_request")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        done: Done,
        target: Target,
        check: HealthCheck,
        request: bytes,
        context: ssl.SSLContext | None = None,
        name: str | None = None,
        pattern: re.Pattern[bytes] | None = None,
    ) -> None:
        """`pattern` must be found in the body."""
        self._check = check
        self._request = request
        self._pattern = pattern
        self._parser: httptools.HttpResponseParser | None = None
        self._read = 0
        self._code = 0  # of the final head, once it is complete and good
        self._body = b""
        super().__init__(loop, done, target, check.timeout, context, name)

    def _talk(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._send(self._request)

    def _take(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            return
        if not data:
            if self._code:
                self._judge_body(True)
            else:
                begun = "closed before the end of the response head" if self._read else "closed without a word"
                self._end(Word.L7RSP, begun)
            return
        self._read += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the head is complete: on_headers_complete has judged
        except httptools.HttpParserError as error:
            self._end(Word.L7RSP, str(error) or type(error).__name__)
            return
        if self._code:
            self._judge_body(len(self._body) >= MAX_ANSWER)
        elif self._read > MAX_ANSWER:
            self._end(Word.L7RSP, f"no end of the response head within {MAX_ANSWER} bytes")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self._parser is None:
            return
        code = self._parser.get_status_code()
        if code < 200 and code != 101:
            return  # interim: the final one follows
        if not any(low <= code <= high for low, high in self._check.expect):
            self._end(Word.L7STS, f"status {code}", code)
        elif self._pattern is None:
            self._end(Word.L7OK, "", code)
        else:
            self._code = code

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        if self._code and len(self._body) < MAX_ANSWER:
            self._body = (self._body + data)[:MAX_ANSWER]

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._code:
            self._judge_body(True)

    def _judge_body(self, complete: bool) -> None:
        """A body that ends later may still begin with what is looked for: only the whole one fails."""
        if self._pattern is None or self._sock is None:
            return
        if self._pattern.search(self._body):
            self._end(Word.L7OK, "", self._code)
        elif complete:
            self._end(Word.L7RSP, "the body is not what is expected", self._code)
