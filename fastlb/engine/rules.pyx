"""Answers that a route gives by itself, without a server: redirects and fixed responses."""

cimport cython
from libc.string cimport memmove, memset
from fastlb.http.fields cimport MAX_FIELDS, HeadLimits, reason_text
from fastlb.http.http_date cimport HTTP_DATE, http_date
from fastlb.http.put cimport put, put_number, put_text
from fastlb.http.request_head cimport METHOD_GET, METHOD_HEAD, parse_request_head, request_head_reset

import re
import struct
from http import HTTPStatus
from urllib.parse import quote

from fastlb.http.header_rules import check_value, compile_chain

cdef enum Part:
    PART_TEXT = 0
    PART_SCHEME
    PART_HOST
    PART_PORT
    PART_PATH
    PART_QUERY
    PART_URI

cdef enum:
    FIXED_EXTRA = 160           # Date, Connection, Location's name, a port, line ends: 120 bytes at most

PARTS = {"scheme": PART_SCHEME, "host": PART_HOST, "port": PART_PORT, "path": PART_PATH, "query": PART_QUERY,
         "uri": PART_URI}
REDIRECTS = (301, 302, 303, 307, 308)
URI_CHARACTERS = "%!$&'()*+,;=:@/?#[]~"

cdef unsigned char URI_SAFE[256]


cdef void _fill_table() noexcept:
    cdef bytes safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:@/?[]"
    cdef int i
    for i in range(256):
        URI_SAFE[i] = 0
    for i in safe:
        URI_SAFE[i] = 1


_fill_table()


cdef char* put_escaped(char* o, const char* text, uint32_t n) noexcept nogil:
    """Bytes of a request into a URI. What the parser lets pass holds no line end; here nothing but URI characters can
    come out, whatever it lets pass."""
    cdef const char* digits = b"0123456789ABCDEF"
    cdef unsigned char c
    cdef uint32_t i
    for i in range(n):
        c = <unsigned char>text[i]
        if URI_SAFE[c]:
            o[0] = <char>c
            o += 1
        else:
            o[0] = c'%'
            o[1] = digits[c >> 4]
            o[2] = digits[c & 15]
            o += 3
    return o


cdef inline char* put_path(char* o, const char* buf, const RequestHead* h) noexcept nogil:
    if h.path.len == 0 or buf[h.path.off] != c'/':      # an absolute form without path, or the '*' of OPTIONS
        return put_text(o, b"/")
    return put_escaped(o, buf + h.path.off, h.path.len)


cdef inline char* put_uri(char* o, const char* buf, const RequestHead* h) noexcept nogil:
    cdef uint32_t tail = h.path.off + h.path.len
    o = put_path(o, buf, h)
    return put_escaped(o, buf + tail, h.target.off + h.target.len - tail)


cdef inline char* put_end(char* o, const RequestHead* h, bint close, bint dated) noexcept nogil:
    """Date, Connection and the empty line."""
    if not dated:
        o = put_text(o, b"Date: ")
        o = put(o, http_date(), HTTP_DATE)
        o = put_text(o, b"\r\n")
    if close:
        return put_text(o, b"Connection: close\r\n\r\n")
    if h.minor == 0:
        return put_text(o, b"Connection: keep-alive\r\n\r\n")
    return put_text(o, b"\r\n")


cdef ssize_t write_no_host(char* out, const RequestHead* h, bint close) noexcept nogil:
    """For an HTTP/1.0 request without Host: there is no address to send the client to."""
    cdef char* o = put_text(out, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n")
    return put_end(o, h, close, False) - out


cdef int https_redirect_status(int method) noexcept nogil:
    return 301 if method == METHOD_GET or method == METHOD_HEAD else 308


cdef inline size_t https_redirect_bound(const RequestHead* h) noexcept nogil:
    return 3 * (<size_t>h.host.len + h.target.len) + 2 * FIXED_EXTRA


cdef ssize_t write_https_redirect(char* out, size_t cap, const char* buf, const RequestHead* h,
                                  const ForwardInfo* info, bint close) noexcept:
    cdef char* o = out
    if cap < https_redirect_bound(h):
        return -1
    if h.host.len == 0:
        return write_no_host(out, h, close)
    if https_redirect_status(h.method) == 301:
        o = put_text(o, b"HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\nLocation: https://")
    else:
        o = put_text(o, b"HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: https://")
    o = put_escaped(o, buf + h.host.off, h.host.len)
    o = put_uri(o, buf, h)
    o = put_text(o, b"\r\n")
    return put_end(o, h, close, False) - out


cdef class Answer:
    """A response made here. `status` is its status code."""

    def __init__(self, *args, **kwargs):
        if type(self) is Answer:
            raise TypeError("Answer is a base class: use Redirect or Respond")

    cdef int _prepare(self, int status, object chain, bytes length) except -1:
        """Status line and constant lines: those of the chain of rules, then Content-Length."""
        compiled = compile_chain(chain, request=False)
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        line = b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())
        fields = compiled.block + length
        self.status = status
        self.dated = b"\r\ndate:" in (b"\r\n" + fields).lower()
        self._keep = (line, fields)
        self.start, self.start_len = <const char*>self._keep[0], <uint32_t>len(line)
        self.fields, self.fields_len = <const char*>self._keep[1], <uint32_t>len(fields)
        return 0

    cdef size_t bound(self, const RequestHead* h) noexcept:
        return self.start_len + self.fields_len + FIXED_EXTRA

    cdef ssize_t write(self, char* out, size_t cap, const char* buf, const RequestHead* h, const ForwardInfo* info,
                       bint close, bint head_only) noexcept:
        return -1

    def apply(self, bytes head not None, *, bint https=False, bint close=False, int repeat=1):
        """The response to a whole request head: what the engine sends, for tools and tests. The same work is done
        `repeat` times, for measuring. ValueError when the head is not acceptable."""
        return apply_answer(self, head, https, close, repeat)


cdef bytes apply_answer(Answer answer, bytes head, bint https, bint close, int repeat):
    """`answer` None: the redirect to https."""
    cdef:
        RequestHead h
        HeadLimits limits
        ForwardInfo info
        bytearray out
        ssize_t n = -1
        size_t cap
        int _
    limits.bytes, limits.count, limits.uri = 1 << 20, MAX_FIELDS, 1 << 20
    request_head_reset(&h)
    if parse_request_head(&h, head, <uint32_t>len(head), &limits) <= 0:
        raise ValueError(f"not a request head: {reason_text(h.reason).decode()}")
    memset(&info, 0, sizeof(info))
    info.https = https
    cap = https_redirect_bound(&h) if answer is None else answer.bound(&h)
    out = bytearray(cap)
    for _ in range(repeat):
        if answer is None:
            n = write_https_redirect(<char*>out, cap, head, &h, &info, close)
        else:
            n = answer.write(<char*>out, cap, head, &h, &info, close, h.method == METHOD_HEAD)
    if n < 0:
        raise ValueError("the answer does not fit its own bound")
    return bytes(out[:n])


def https_redirect(bytes head not None, *, bint close=False, int repeat=1):
    """The answer of `redirect_https` to a whole request head; see Answer.apply."""
    return apply_answer(None, head, False, close, repeat)


@cython.final
cdef class Redirect(Answer):
    """An answer with Location.

    location: template; {scheme} {host} {port} {path} {query} {uri} stand for those of the request: host without port,
    port as the client named it or the scheme's own, path and query as received, uri = path with query.
    status: 301, 302, 303, 307 or 308. rules: chain of response header rules (frontend, route).
    A location that begins with a part of the request never becomes a reference to another host ('//evil').
    """

    def __cinit__(self, str location, int status=302, rules=()):
        if status not in REDIRECTS:
            raise ValueError(f"{status} is not a redirect's status")
        if not location or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in location):
            raise ValueError(f"{location!r} is not a location")
        self._prepare(status, rules, b"Content-Length: 0\r\n")
        text = b""
        pieces = []
        for i, part in enumerate(re.split(r"\{([^{}]*)\}", location)):
            if i % 2:
                if part not in PARTS:
                    raise ValueError(f"{{{part}}} is unknown in a location; there are {', '.join(sorted(PARTS))}")
                pieces.append((PARTS[part], 0, 0))
                self.needs_host = self.needs_host or part == "host"
            elif part:
                if "{" in part or "}" in part:
                    raise ValueError(f"unbalanced brace in {location!r}")
                raw = quote(part, safe=URI_CHARACTERS).encode()
                pieces.append((PART_TEXT, len(text), len(raw)))
                text += raw
        self.network_path = location.startswith("//")
        self.count = <uint32_t>len(pieces)
        packed = b"".join(struct.pack("=BxxxII", *piece) for piece in pieces)
        self._keep += (text, packed)
        self.text = <const char*>self._keep[2]
        self.pieces = <const Piece*><const char*>self._keep[3]

    cdef size_t bound(self, const RequestHead* h) noexcept:
        cdef size_t n = self.start_len + self.fields_len + FIXED_EXTRA
        cdef uint32_t i
        for i in range(self.count):
            n += self.pieces[i].len + 8
            if self.pieces[i].kind == PART_HOST:
                n += <size_t>3 * h.host.len
            elif self.pieces[i].kind >= PART_PATH:
                n += <size_t>3 * h.target.len
        return n

    cdef ssize_t write(self, char* out, size_t cap, const char* buf, const RequestHead* h, const ForwardInfo* info,
                       bint close, bint head_only) noexcept:
        cdef:
            char* o
            char* location
            uint32_t i, kind
            size_t extra
        if cap < self.bound(h):
            return -1
        if self.needs_host and h.host.len == 0:
            return write_no_host(out, h, close)
        o = put(out, self.start, self.start_len)
        o = put_text(o, b"Location: ")
        location = o
        for i in range(self.count):
            kind = self.pieces[i].kind
            if kind == PART_TEXT:
                o = put(o, self.text + self.pieces[i].off, self.pieces[i].len)
            elif kind == PART_SCHEME:
                o = put_text(o, b"https") if info.https else put_text(o, b"http")
            elif kind == PART_HOST:
                o = put_escaped(o, buf + h.host.off, h.host.len)
            elif kind == PART_PORT:
                o = put_number(o, h.port if h.port else (443 if info.https else 80))
            elif kind == PART_PATH:
                o = put_path(o, buf, h)
            elif kind == PART_QUERY:
                o = put_escaped(o, buf + h.query.off, h.query.len)
            else:
                o = put_uri(o, buf, h)
        if not self.network_path and location[0] == c'/':
            extra = 0
            while location + extra + 1 < o and location[extra + 1] == c'/':
                extra += 1
            if extra:
                memmove(location, location + extra, <size_t>(o - location) - extra)
                o -= extra
        o = put_text(o, b"\r\n")
        o = put(o, self.fields, self.fields_len)
        return put_end(o, h, close, self.dated) - out


@cython.final
cdef class Respond(Answer):
    """A fixed response.

    status: 200-599; 204 and 304 have no content. rules: chain of response header rules (frontend, route), applied to
    the content type and `headers` as well. `size` is what write() may need at most.
    """

    def __cinit__(self, int status=200, str body="", str content_type="text/plain; charset=utf-8", headers=(),
                  rules=()):
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is not a final status")
        check_value("Content-Type", content_type)
        content = b"" if status in (204, 205, 304) else body.encode("utf-8")
        length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(content)
        typed = (("Content-Type", content_type),) if content and content_type else ()
        self._prepare(status, [((), typed, headers), *rules], length)
        self._keep += (content,)
        self.body, self.body_len = <const char*>self._keep[2], <uint32_t>len(content)

    @property
    def size(self):
        """Bytes that the whole response can have; the caller's buffer must hold them."""
        return self.start_len + self.fields_len + FIXED_EXTRA + self.body_len

    cdef size_t bound(self, const RequestHead* h) noexcept:
        return self.start_len + self.fields_len + FIXED_EXTRA + self.body_len

    cdef ssize_t write(self, char* out, size_t cap, const char* buf, const RequestHead* h, const ForwardInfo* info,
                       bint close, bint head_only) noexcept:
        cdef char* o
        if cap < self.bound(h):
            return -1
        o = put(out, self.start, self.start_len)
        o = put(o, self.fields, self.fields_len)
        o = put_end(o, h, close, self.dated)
        if not head_only:
            o = put(o, self.body, self.body_len)
        return o - out
