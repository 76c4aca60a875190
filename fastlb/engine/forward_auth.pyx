"""Asks a service whether a request may pass, as Traefik's forwardAuth, nginx's auth_request and Envoy's ext_authz do.

The question is a GET with the request's own header fields and with who asks for what in X-Forwarded-* and
X-Original-*; bodies stay here. It goes to a backend of the configuration (inner.pyx). 2xx lets the request through,
and the server gets chosen fields of the answer; 3xx and 4xx are given to the client; anything else is a failure.
What the client itself sends under those names reaches neither the service nor, by the route's rules, the server.
"""

from libc.string cimport memcpy
from fastlb.engine.admission cimport park, resume
from fastlb.engine.buffer cimport chunk_free, chunk_grow, chunk_new
from fastlb.engine.core cimport HEAD_OUT
from fastlb.engine.stats cimport COUNT_DENIED
from fastlb.engine.step cimport STEP_DONE
from fastlb.http.canned cimport status_phrase
from fastlb.http.chunked cimport CHUNK_DATA, CHUNK_ERROR, chunked_next, chunked_reset
from fastlb.http.fields cimport (
    FIELD_CONNECTION, FIELD_CONTENT_LENGTH, FIELD_EXPECT, FIELD_FORWARDED, FIELD_HOP, FIELD_HOST,
    FIELD_HTTP2_SETTINGS, FIELD_KEEP_ALIVE, FIELD_OTHER, FIELD_PROXY_AUTHENTICATE, FIELD_PROXY_AUTHORIZATION,
    FIELD_PROXY_CONNECTION, FIELD_TE, FIELD_TRAILER, FIELD_TRANSFER_ENCODING, FIELD_UPGRADE,
    FIELD_X_FORWARDED_CLIENT_CERT, FIELD_X_FORWARDED_FOR, FIELD_X_FORWARDED_HOST, FIELD_X_FORWARDED_PORT,
    FIELD_X_FORWARDED_PROTO, FIELD_X_REAL_IP, FIELD_X_REQUEST_ID, MAX_FIELDS, Field)
from fastlb.http.put cimport put, put_number, put_text
from fastlb.http.request_head cimport METHOD_HEAD, RequestHead
from fastlb.http.response_head cimport ResponseHead

cdef enum:
    OWN_LINES = 16              # that a question has besides the request's: twelve

# Never asked with: what frames a message or concerns one connection, what we tell ourselves.
cdef uint32_t OWN = (
    1u << FIELD_HOST | 1u << FIELD_CONNECTION | 1u << FIELD_CONTENT_LENGTH | 1u << FIELD_TRANSFER_ENCODING
    | 1u << FIELD_EXPECT | 1u << FIELD_UPGRADE | 1u << FIELD_KEEP_ALIVE | 1u << FIELD_PROXY_CONNECTION | 1u << FIELD_TE
    | 1u << FIELD_TRAILER | 1u << FIELD_PROXY_AUTHENTICATE | 1u << FIELD_PROXY_AUTHORIZATION
    | 1u << FIELD_X_FORWARDED_FOR | 1u << FIELD_X_FORWARDED_PROTO | 1u << FIELD_X_FORWARDED_HOST
    | 1u << FIELD_X_FORWARDED_PORT | 1u << FIELD_FORWARDED | 1u << FIELD_X_REQUEST_ID
    | 1u << FIELD_X_FORWARDED_CLIENT_CERT | 1u << FIELD_HTTP2_SETTINGS | 1u << FIELD_X_REAL_IP)
# Likewise by name, '_' taken for '-' as CGI and WSGI applications do, which cannot tell X_Real_IP from X-Real-IP of our
# own; and conditions and ranges, with which the service would answer something else than its verdict.
cdef Names OWN_NAMES = Names((
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Request-ID", "X-Real-IP",
    "X-Forwarded-Client-Cert", "Content-Length", "Transfer-Encoding",
    "X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Server", "X-Original-Method", "X-Original-Uri",
    "X-Original-Url", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range",
))
# Of an answer: never passed on, whoever asks for it.
cdef uint32_t FRAMING = (
    1u << FIELD_CONNECTION | 1u << FIELD_CONTENT_LENGTH | 1u << FIELD_TRANSFER_ENCODING | 1u << FIELD_UPGRADE
    | 1u << FIELD_KEEP_ALIVE | 1u << FIELD_PROXY_CONNECTION | 1u << FIELD_TE | 1u << FIELD_TRAILER | 1u << FIELD_HOST)
cdef Names CONTENT = Names(("Content-Type", "Content-Encoding", "Content-Language"))


cdef char* put_line(char* o, const char* name, const char* value, size_t n) noexcept nogil:
    return put_text(put(put_text(put_text(o, name), b": "), value, n), b"\r\n")


cdef const Field* first_of(const RequestHead* h, int field_id) noexcept nogil:
    if h.seen[field_id] == 0:
        return NULL
    return &h.fields[h.seen[field_id] - 1]


cdef char* put_target(char* o, const char* buf, const RequestHead* h) noexcept nogil:
    """The target in origin form."""
    cdef uint32_t tail = h.path.off + h.path.len
    if h.path.len == 0:
        o = put_text(o, b"/")
    else:
        o = put(o, buf + h.path.off, h.path.len)
    return put(o, buf + tail, h.target.off + h.target.len - tail)


cdef class ForwardStep(Step):
    """core, front: of the worker, an internal frontend; action: towards the service; rules: a ForwardAuth."""

    def __init__(self, Core core not None, Frontend front not None, Action action not None, rules):
        self.core = core
        self.front = front
        self.action = action
        self.path = rules.path.encode()
        self.timeout_ms = <uint32_t>(rules.timeout * 1000)
        self.allow_on_error = rules.on_error == "allow"
        self.send = Names(rules.send)
        self.copy = Names(rules.headers)
        self.show = Names(rules.response_headers)
        self.refusal = Names(rules.refusal_headers)
        self.user_header = rules.user_header.lower().encode()
        self.max_body = rules.max_body
        self.calls = {}

    def figures(self):
        """Counts of this worker: granted, refused, failed."""
        return {"granted": self.granted, "cached": 0, "refused": self.refused, "limited": 0, "failed": self.failed}

    cdef int ask(self, PyObject* exchange) noexcept:
        cdef Exchange e = <Exchange>exchange
        cdef ForwardCall call
        cdef uint32_t head_len = 0
        cdef Chunk* question = self._question(e, &head_len)
        if question == NULL:
            e.fail(431, b"PR", b"request head too large to ask about")
            return STEP_DONE
        call = ForwardCall.__new__(ForwardCall)
        call.step = self
        call.outer = exchange
        call.told = Extras.__new__(Extras)
        call.content = Extras.__new__(Extras)
        call.speak_for(e)
        self.calls[<size_t>exchange] = call
        park(e, self, self.timeout_ms)
        call.start(self.core, self.action, self.front, question, head_len, 0)
        return STEP_DONE

    cdef Chunk* _question(self, Exchange e, uint32_t* head_len) noexcept:
        cdef const RequestHead* h = e.core.request
        cdef const char* buf = e.saved.data
        cdef const Field* f
        cdef const Field* given
        cdef char* begin = self.core.obuf
        cdef char* o = begin
        cdef uint32_t i, fields = 0
        cdef bint trusted = e.front.trust is not None and e.front.trust.contains(e.client.peer())
        cdef bint listed = len(self.send) > 0
        cdef Chunk* c
        if <size_t>h.length * 2 + 8 * (<size_t>h.target.len + h.authority.len) + len(self.path) + 2048 > HEAD_OUT:
            return NULL
        o = put(put_text(o, b"GET "), self.path, <size_t>len(self.path))
        o = put_text(o, b" HTTP/1.1\r\n")
        if h.authority.len:
            o = put_line(o, b"Host", buf + h.authority.off, h.authority.len)
        else:
            o = put_text(o, b"Host: localhost\r\n")
        for i in range(h.nfields):
            f = &h.fields[i]
            if f.flags & FIELD_HOP or OWN >> f.id & 1:
                continue
            if f.id == FIELD_OTHER and OWN_NAMES.has(buf + f.name, f.name_len, True):
                continue
            if listed and not self.send.has(buf + f.name, f.name_len, False):
                continue
            fields += 1
            o = put_text(put(o, buf + f.name, f.name_len), b": ")
            o = put_text(put(o, buf + f.value, f.value_len), b"\r\n")
        if fields + OWN_LINES > MAX_FIELDS:
            return NULL                 # refused here: where failures let requests through, no client may cause one
        if e.client_len or (trusted and h.seen[FIELD_X_FORWARDED_FOR]):
            o = put_text(o, b"X-Forwarded-For: ")
            if trusted:
                for i in range(h.nfields):
                    f = &h.fields[i]
                    if f.id == FIELD_X_FORWARDED_FOR:
                        o = put_text(put(o, buf + f.value, f.value_len), b", ")
            o = put_text(put(o, e.client_text, e.client_len), b"\r\n")
            o = put_line(o, b"X-Real-IP", e.client_text, e.client_len)
        given = first_of(h, FIELD_X_FORWARDED_PROTO) if trusted else NULL
        if given != NULL:
            o = put_line(o, b"X-Forwarded-Proto", buf + given.value, given.value_len)
        else:
            o = put_text(o, b"X-Forwarded-Proto: https\r\n" if e.https else b"X-Forwarded-Proto: http\r\n")
        given = first_of(h, FIELD_X_FORWARDED_HOST) if trusted else NULL
        if given != NULL:
            o = put_line(o, b"X-Forwarded-Host", buf + given.value, given.value_len)
        else:
            o = put_line(o, b"X-Forwarded-Host", buf + h.authority.off, h.authority.len)
        given = first_of(h, FIELD_X_FORWARDED_PORT) if trusted else NULL
        if given != NULL:
            o = put_line(o, b"X-Forwarded-Port", buf + given.value, given.value_len)
        else:
            o = put_text(put_number(put_text(o, b"X-Forwarded-Port: "), e.client.local_port()), b"\r\n")
        o = put_line(o, b"X-Forwarded-Method", buf + h.verb.off, h.verb.len)
        o = put_line(o, b"X-Original-Method", buf + h.verb.off, h.verb.len)
        o = put_text(put_target(put_text(o, b"X-Forwarded-Uri: "), buf, h), b"\r\n")
        o = put_text(put_target(put_text(o, b"X-Original-URI: "), buf, h), b"\r\n")
        o = put_text(o, b"X-Original-URL: https://" if e.https else b"X-Original-URL: http://")
        o = put_text(put_target(put(o, buf + h.authority.off, h.authority.len), buf, h), b"\r\n")
        o = put_text(put(put_text(o, b"X-Request-ID: "), e.request_id, 32), b"\r\n\r\n")
        head_len[0] = <uint32_t>(o - begin)
        c = chunk_new(head_len[0])
        if c != NULL:
            memcpy(c.data, begin, head_len[0])
            c.end = head_len[0]
        return c

    cdef void _failed(self, Exchange e) noexcept:
        self.failed += 1
        if self.allow_on_error:
            resume(e)
            return
        e.parked = None
        e.client.wait_until(0)
        e.retry_after = 1
        e.fail(503, b"PR", b"the authorization service gave no answer")

    cdef void due(self, PyObject* exchange) noexcept:
        cdef ForwardCall call = self.calls.pop(<size_t>exchange, None)
        if call is not None:
            call.abort()
        self._failed(<Exchange>exchange)

    cdef void left(self, PyObject* exchange) noexcept:
        cdef ForwardCall call = self.calls.pop(<size_t>exchange, None)
        if call is not None:
            call.abort()


cdef class ForwardCall(InnerRequest):
    """One question."""

    def __dealloc__(self):
        chunk_free(self.body)

    cdef void answer_head(self, const ResponseHead* h, const char* buf) noexcept:
        cdef ForwardStep step = self.step
        cdef const Field* f
        cdef const char* name
        cdef uint32_t i
        cdef bint granted = 200 <= h.status < 300
        self.status = h.status
        chunked_reset(&self.decoder)
        for i in range(h.nfields):
            f = &h.fields[i]
            name = buf + f.name
            if f.flags & FIELD_HOP or FRAMING >> f.id & 1:
                continue
            if not granted:
                if step.refusal.has(name, f.name_len, False):
                    self.stored = self.stored or same(name, f.name_len, b"cache-control")
                    self._keep_line(self.content if CONTENT.has(name, f.name_len, False) else self.told, f, buf, False)
                continue
            if step.copy.has(name, f.name_len, False):
                self._keep_line(self.told, f, buf, True)
            if step.show.has(name, f.name_len, False):
                self._keep_line(self.told, f, buf, False)
            if len(step.user_header) and same(name, f.name_len, step.user_header):
                self.told.user = buf[f.value:f.value + f.value_len]

    cdef void _keep_line(self, Extras to, const Field* f, const char* buf, bint request) noexcept:
        if not (to.add_request(buf + f.name, f.name_len, buf + f.value, f.value_len) if request
                else to.add_response(buf + f.name, f.name_len, buf + f.value, f.value_len)):
            self.unfit = True

    cdef bint answer_body(self, const char* p, size_t n) noexcept:
        cdef const char* data = NULL
        cdef size_t used = 0, size = 0
        cdef int got
        if 200 <= self.status < 300:
            return True
        if not self.chunked:
            return self._keep_body(p, n)
        while n:
            got = chunked_next(&self.decoder, p, n, &used, &data, &size)
            p += used
            n -= used
            used = 0
            if got == CHUNK_ERROR:
                return False
            if got != CHUNK_DATA:
                return True
            if not self._keep_body(data, size):
                return False
        return True

    cdef bint _keep_body(self, const char* p, size_t n) noexcept:
        cdef size_t there = self.body.end if self.body != NULL else 0
        cdef Chunk* c
        if there + n > self.step.max_body:
            self.oversize = True
            return False
        c = chunk_new(n) if self.body == NULL else chunk_grow(self.body, there + n)
        if c == NULL:
            self.oversize = True
            return False
        memcpy(c.data + there, p, n)
        c.end = <uint32_t>(there + n)
        self.body = c
        return True

    cdef void finished(self, int status) noexcept:
        cdef ForwardStep step = self.step
        cdef Exchange e
        if step.calls.pop(<size_t>self.outer, None) is None:
            return
        e = <Exchange>self.outer
        if self.succeeded and 200 <= self.status < 300 and not self.unfit:
            if not e.extra().merge(self.told):
                step._failed(e)
                return
            if self.told.user is not None:
                e.extra().user = self.told.user
            step.granted += 1
            resume(e)
        elif (self.succeeded or self.oversize) and 300 <= self.status < 500 and self.status != 304 and not self.unfit:
            step.refused += 1
            e.front.counters[COUNT_DENIED] += 1
            e.parked = None
            e.client.wait_until(0)
            self._refuse(e)
        else:
            step._failed(e)

    cdef void _refuse(self, Exchange e) noexcept:
        """Gives the service's answer to the client."""
        cdef Core core = e.core
        cdef char* o = core.obuf
        cdef size_t size = 0 if self.oversize or self.body == NULL else self.body.end
        cdef bint close = not e.keep_alive or not e.request_done or e.leaving()
        if not e.extra().merge(self.told) or self.oversize or (
                size + 1024 + (self.content.response.end if self.content.response != NULL else 0) > HEAD_OUT):
            e.fail(self.status, b"PR", b"refused by the authorization service")
            return
        o = put_number(put_text(o, b"HTTP/1.1 "), self.status)
        o = put_text(put_text(put_text(o, b" "), status_phrase(self.status)), b"\r\n")
        if self.content.response != NULL:
            o = put(o, self.content.response.data, self.content.response.end)
        if not self.stored:
            o = put_text(o, b"Cache-Control: no-store\r\n")        # a 301 or 404 may be kept by default
        o = put_text(put_number(put_text(o, b"Content-Length: "), <uint32_t>size), b"\r\n")
        o = put_text(o, b"Connection: close\r\n\r\n" if close else b"\r\n")
        if size and e.method != METHOD_HEAD:
            o = put(o, self.body.data, size)
        e.status = self.status
        memcpy(e.term, b"PR", 2)
        e.answer(<size_t>(o - core.obuf), close)


cdef bint same(const char* p, size_t n, bytes lower) noexcept:
    cdef const char* wanted = lower
    cdef size_t i
    if n != <size_t>len(lower):
        return False
    for i in range(n):
        if (p[i] | 32 if c'A' <= p[i] <= c'Z' else p[i]) != wanted[i]:
            return False
    return True
