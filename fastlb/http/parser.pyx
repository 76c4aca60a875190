"""Python face of the HTTP/1.1 parsers: the engine's own C functions, for tests, fuzzers, benchmarks and tools.

The engine does not use these classes; it calls the functions below them on its receive buffer.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cimport cython

from fastlb._core.span cimport Span
from fastlb.http cimport fields as F
from fastlb.http.authority cimport split_authority as c_split_authority
from fastlb.http.chunked cimport CHUNK_DATA, CHUNK_END, CHUNK_ERROR, Chunked, chunked_next, chunked_reset, chunked_scan
from fastlb.http.fields cimport Field, HeadLimits, field_id, reason_text
from fastlb.http.request_head cimport (
    METHOD_CONNECT,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OTHER,
    RequestHead,
    method_idempotent,
    parse_request_head,
    request_head_reset,
    request_head_size,
)
from fastlb.http.response_head cimport ResponseHead, parse_response_head, response_head_reset, response_head_size

_FRAMINGS = ("none", "length", "chunked", "eof", "tunnel")
_FORMS = ("origin", "absolute", "asterisk", "authority")


class Refused(ValueError):
    """A message that is not read any further. `status` is the answer a client gets, `reason` the words for the log."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


cdef bytes cut(bytes data, Span span):
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + span.off, span.len)


cdef object refused(int status, int reason):
    return Refused(status, (<bytes>reason_text(reason)).decode())


cdef list pairs(bytes data, const Field* fields, uint32_t n, int flag):
    cdef list out = []
    cdef uint32_t i
    cdef const char* text = PyBytes_AS_STRING(data)
    for i in range(n):
        if fields[i].flags & flag == flag:
            out.append((
                PyBytes_FromStringAndSize(text + fields[i].name, fields[i].name_len),
                PyBytes_FromStringAndSize(text + fields[i].value, fields[i].value_len),
            ))
    return out


cdef class _HeadParser:
    # What both heads share: the limits and the bytes read so far. With `exact` a copy of exactly these bytes is parsed,
    # so that a sanitizer sees a read past them.
    cdef HeadLimits limits
    cdef bytes data
    cdef bint done, exact

    def __cinit__(self):
        self.data = b""

    cdef int set_limits(self, header_bytes, header_count, uri) except -1:
        if not 16 <= header_bytes <= 1 << 20:
            raise ValueError("header_bytes must be 16 to 1048576")
        if not 0 <= header_count <= F.MAX_FIELDS:
            raise ValueError(f"header_count must be 0 to {F.MAX_FIELDS}")
        if not 1 <= uri <= 1 << 20:
            raise ValueError("uri must be 1 to 1048576")
        self.limits.bytes = header_bytes
        self.limits.count = header_count
        self.limits.uri = uri
        return 0

    cdef int parse(self, const char* text, uint32_t n) noexcept:
        return F.PARSE_ERROR

    cdef int parse_exact(self) except -2:
        cdef Py_ssize_t n = PyBytes_GET_SIZE(self.data)
        cdef char* copy = <char*>malloc(n if n else 1)
        cdef int r
        if copy is NULL:
            raise MemoryError
        memcpy(copy, PyBytes_AS_STRING(self.data), n)
        r = self.parse(copy, <uint32_t>n)
        free(copy)
        return r

    cdef int ready(self) except -1:
        if not self.done:
            raise ValueError("the head is not complete")
        return 0


@cython.final
cdef class RequestParser(_HeadParser):
    """Reads request heads one after the other.

    `feed(data)` takes the next bytes and tells whether the head is complete; then the attributes hold and `rest` is
    what follows it. The feed after that begins a new head. A head that is not acceptable raises `Refused`. Limits are
    in bytes, `header_count` in fields (at most 256). `exact` parses from a copy of exactly the bytes fed, for use
    under a sanitizer.
    """

    cdef RequestHead h

    def __init__(self, *, header_bytes: int = 16384, header_count: int = 100, uri: int = 8192, exact: bool = False):
        self.set_limits(header_bytes, header_count, uri)
        self.exact = exact
        self.done = False
        self.data = b""
        request_head_reset(&self.h)

    cdef int parse(self, const char* text, uint32_t n) noexcept:
        return parse_request_head(&self.h, text, n, &self.limits)

    def feed(self, bytes data not None):
        """True when the head is complete. O(bytes fed) in the parser; keeping them across calls copies."""
        cdef int r
        if self.done or self.h.reason:
            request_head_reset(&self.h)
            self.done = False
            self.data = data
        elif PyBytes_GET_SIZE(self.data):
            self.data += data
        else:
            self.data = data
        if PyBytes_GET_SIZE(self.data) > 0x7fffffff:
            raise OverflowError("more than 2 GB")
        if self.exact:
            r = self.parse_exact()
        else:
            r = parse_request_head(&self.h, PyBytes_AS_STRING(self.data), <uint32_t>PyBytes_GET_SIZE(self.data),
                                   &self.limits)
        if r > 0:
            self.done = True
            return True
        if r < 0:
            raise refused(self.h.status, self.h.reason)
        return False

    @property
    def length(self):
        """Bytes of the head, leading empty lines included."""
        self.ready()
        return self.h.length

    @property
    def rest(self):
        """The bytes fed that follow the head."""
        self.ready()
        return self.data[self.h.length:]

    @property
    def line(self):
        self.ready()
        return cut(self.data, self.h.line)

    @property
    def method(self):
        self.ready()
        return cut(self.data, self.h.verb)

    @property
    def known_method(self):
        """False when the engine treats the method as one it has no rules for."""
        self.ready()
        return self.h.method != METHOD_OTHER

    @property
    def idempotent(self):
        self.ready()
        return bool(method_idempotent(self.h.method))

    @property
    def target(self):
        self.ready()
        return cut(self.data, self.h.target)

    @property
    def form(self):
        """origin, absolute, asterisk or authority (RFC 9112 section 3.2)."""
        self.ready()
        return _FORMS[self.h.form]

    @property
    def path(self):
        self.ready()
        return cut(self.data, self.h.path)

    @property
    def query(self):
        """Without the question mark; None when there is none."""
        self.ready()
        return cut(self.data, self.h.query) if self.h.query.off else None

    @property
    def host(self):
        """Effective host without port (RFC 9112 section 3.3), as received; empty when there is none."""
        self.ready()
        return cut(self.data, self.h.host)

    @property
    def authority(self):
        self.ready()
        return cut(self.data, self.h.authority)

    @property
    def port(self):
        self.ready()
        return self.h.port

    @property
    def version(self):
        self.ready()
        return (1, self.h.minor)

    @property
    def headers(self):
        """All fields as (name, value) in the order received."""
        self.ready()
        return pairs(self.data, self.h.fields, self.h.nfields, 0)

    @property
    def hop_by_hop(self):
        """The fields that must not be forwarded."""
        self.ready()
        return pairs(self.data, self.h.fields, self.h.nfields, F.FIELD_HOP)

    @property
    def framing(self):
        """none, length or chunked."""
        self.ready()
        return _FRAMINGS[self.h.framing]

    @property
    def content_length(self):
        self.ready()
        return self.h.content_length

    @property
    def keep_alive(self):
        self.ready()
        return bool(self.h.keep_alive)

    @property
    def expect_continue(self):
        self.ready()
        return bool(self.h.expect_continue)

    @property
    def upgrade(self):
        self.ready()
        return bool(self.h.upgrade)

    @property
    def connection_names(self):
        """Connection lists names of other fields."""
        self.ready()
        return bool(self.h.connection_names)

    def seen(self, bytes name not None):
        """Index of the first field of that name among those the engine finds without a search, or None."""
        cdef int ident = field_id(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        self.ready()
        if ident == F.FIELD_OTHER:
            raise KeyError(name)
        return self.h.seen[ident] - 1 if self.h.seen[ident] else None

    def _move(self):
        # Takes the parser to another place in memory by the bytes that request_head_size names, as an engine does that
        # parks a half-read head. Only then is the rest of the struct garbage.
        cdef RequestHead* other = <RequestHead*>malloc(sizeof(RequestHead))
        cdef size_t n = request_head_size(&self.h), i
        if other is NULL:
            raise MemoryError
        memcpy(other, &self.h, n)
        for i in range(sizeof(RequestHead)):
            (<uint8_t*>&self.h)[i] = 0xa5
        memcpy(&self.h, other, n)
        free(other)


@cython.final
cdef class ResponseParser(_HeadParser):
    """Reads response heads one after the other, as `RequestParser` reads requests.

    `method` is the method of the request that is answered, which decides the framing (RFC 9112 section 6.3).
    """

    cdef ResponseHead h
    cdef int method

    def __init__(self, method: bytes = b"GET", *, header_bytes: int = 16384, header_count: int = 100,
                 exact: bool = False):
        self.set_limits(header_bytes, header_count, 1)
        self.exact = exact
        self.done = False
        self.data = b""
        self.method = METHOD_HEAD if method == b"HEAD" else METHOD_CONNECT if method == b"CONNECT" else METHOD_GET
        response_head_reset(&self.h)

    cdef int parse(self, const char* text, uint32_t n) noexcept:
        return parse_response_head(&self.h, text, n, &self.limits, self.method)

    def feed(self, bytes data not None):
        """True when the head is complete."""
        cdef int r
        if self.done or self.h.reason:
            response_head_reset(&self.h)
            self.done = False
            self.data = data
        elif PyBytes_GET_SIZE(self.data):
            self.data += data
        else:
            self.data = data
        if PyBytes_GET_SIZE(self.data) > 0x7fffffff:
            raise OverflowError("more than 2 GB")
        if self.exact:
            r = self.parse_exact()
        else:
            r = parse_response_head(&self.h, PyBytes_AS_STRING(self.data), <uint32_t>PyBytes_GET_SIZE(self.data),
                                    &self.limits, self.method)
        if r > 0:
            self.done = True
            return True
        if r < 0:
            raise refused(502, self.h.reason)
        return False

    @property
    def length(self):
        self.ready()
        return self.h.length

    @property
    def rest(self):
        self.ready()
        return self.data[self.h.length:]

    @property
    def status(self):
        self.ready()
        return self.h.status

    @property
    def phrase(self):
        self.ready()
        return cut(self.data, self.h.phrase)

    @property
    def version(self):
        self.ready()
        return (1, self.h.minor)

    @property
    def headers(self):
        self.ready()
        return pairs(self.data, self.h.fields, self.h.nfields, 0)

    @property
    def hop_by_hop(self):
        self.ready()
        return pairs(self.data, self.h.fields, self.h.nfields, F.FIELD_HOP)

    @property
    def framing(self):
        """none, length, chunked, eof or tunnel."""
        self.ready()
        return _FRAMINGS[self.h.framing]

    @property
    def content_length(self):
        self.ready()
        return self.h.content_length

    @property
    def keep_alive(self):
        self.ready()
        return bool(self.h.keep_alive)

    @property
    def upgrade(self):
        self.ready()
        return bool(self.h.upgrade)

    def _move(self):
        # See RequestParser._move.
        cdef ResponseHead* other = <ResponseHead*>malloc(sizeof(ResponseHead))
        cdef size_t n = response_head_size(&self.h), i
        if other is NULL:
            raise MemoryError
        memcpy(other, &self.h, n)
        for i in range(sizeof(ResponseHead)):
            (<uint8_t*>&self.h)[i] = 0xa5
        memcpy(&self.h, other, n)
        free(other)


@cython.final
cdef class ChunkedDecoder:
    """Decodes a chunked body. `feed(data)` returns the body bytes in `data`; `complete` and `rest` tell its end."""

    cdef Chunked c
    cdef readonly bint complete
    cdef readonly bytes rest
    cdef bint exact

    def __init__(self, *, exact: bool = False):
        chunked_reset(&self.c)
        self.complete = False
        self.rest = b""
        self.exact = exact

    @property
    def total(self):
        """Body bytes decoded so far."""
        return self.c.total

    cdef char* begin(self, bytes data) except NULL:
        cdef char* text = PyBytes_AS_STRING(data)
        cdef char* copy
        if self.complete:
            raise ValueError("the body is complete")
        if not self.exact:
            return text
        copy = <char*>malloc(PyBytes_GET_SIZE(data) + 1 if PyBytes_GET_SIZE(data) == 0 else PyBytes_GET_SIZE(data))
        if copy is NULL:
            raise MemoryError
        memcpy(copy, text, PyBytes_GET_SIZE(data))
        return copy

    def feed(self, bytes data not None):
        """Decode: the body bytes in `data`. Raises `Refused`."""
        cdef char* text = self.begin(data)
        cdef size_t n = PyBytes_GET_SIZE(data), at = 0, used = 0, run = 0
        cdef const char* body = NULL
        cdef int event
        cdef list out = []
        try:
            while True:
                event = chunked_next(&self.c, text + at, n - at, &used, &body, &run)
                at += used
                if event != CHUNK_DATA:
                    break
                out.append(PyBytes_FromStringAndSize(body, run))
        finally:
            if self.exact:
                free(text)
        self.finish(event, data, at)
        return b"".join(out)

    def scan(self, bytes data not None):
        """Check without decoding: the number of bytes of `data` that belong to the body. Raises `Refused`."""
        cdef char* text = self.begin(data)
        cdef size_t used = 0
        cdef int event = chunked_scan(&self.c, text, PyBytes_GET_SIZE(data), &used)
        if self.exact:
            free(text)
        self.finish(event, data, used)
        return used

    cdef int finish(self, int event, bytes data, size_t used) except -1:
        if event == CHUNK_ERROR:
            raise refused(400, self.c.reason)
        if event == CHUNK_END:
            self.complete = True
            self.rest = data[used:]
        return 0


def split_authority(bytes text not None):
    """(host, port) of host [":" port], port 0 when there is none. Raises ValueError (RFC 9110 section 4.2)."""
    cdef uint32_t n = 0, port = 0
    if not c_split_authority(PyBytes_AS_STRING(text), PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &n, &port):
        raise ValueError(f"not a host and port: {text!r}")
    return text[:n], port
