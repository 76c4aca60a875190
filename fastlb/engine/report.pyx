"""What is written and counted about an exchange when it ends: the access log line, the counters, the error log."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset, strlen
from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.span_buffer cimport SpanFacts
from fastlb.engine.error_log cimport LEVEL_INFO, LEVEL_WARNING
from fastlb.engine.core cimport HEAD_OUT, Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.stats cimport (
    COUNT_1XX, COUNT_BAD_REQUESTS, COUNT_BYTES_IN, COUNT_BYTES_OUT, COUNT_CLIENT_ABORTS, COUNT_CONNECT_US,
    COUNT_CURRENT, COUNT_OPEN, COUNT_OTHER, COUNT_QUEUE_US, COUNT_REQUESTS, COUNT_RESPONSE_ERRORS, COUNT_RESPONSE_US,
    COUNT_SERVER_ABORTS, COUNT_TOTAL_US, TIME_CONNECT, TIME_QUEUE, TIME_RESPONSE, TIME_TOTAL, record_time)
from fastlb.engine.tls_context cimport TlsLayer
from fastlb.http.put cimport put_number, put_text

cdef extern from *:
    """
    #include <string.h>
    #ifndef FASTLB_COUNT
    #define FASTLB_COUNT 1
    #endif
    /* Where the empty line of a head begins: behind the last field's CRLF. */
    static const char* fl_head_end(const char* h, size_t n) {
        const char* p = (const char*)memmem(h, n, "\\r\\n\\r\\n", 4);
        return p ? p + 2 : NULL;
    }
    """
    const char* fl_head_end(const char* h, size_t n) noexcept nogil
    const int FASTLB_COUNT

cdef enum:
    EXPLAIN_ROOM = 2560         # five texts of 200 characters, each perhaps escaped, and the rest


cdef inline int32_t milliseconds(uint64_t later, uint64_t earlier) noexcept:
    return <int32_t>((later - earlier) // 1000) if later >= earlier else 0


cdef inline void count(uint64_t* c, Exchange e, int by_class, uint64_t total) noexcept:
    if not FASTLB_COUNT:
        return
    c[COUNT_REQUESTS] += 1
    c[COUNT_BYTES_IN] += e.bytes_in
    c[COUNT_BYTES_OUT] += e.bytes_out
    c[by_class] += 1
    c[COUNT_TOTAL_US] += total
    record_time(c, TIME_TOTAL, total)
    if e.assigned_us:
        c[COUNT_QUEUE_US] += e.assigned_us - e.head_us
        record_time(c, TIME_QUEUE, e.assigned_us - e.head_us)
        if e.connected_us and e.response_us:
            c[COUNT_CONNECT_US] += e.connected_us - e.assigned_us
            record_time(c, TIME_CONNECT, e.connected_us - e.assigned_us)
            c[COUNT_RESPONSE_US] += e.response_us - e.connected_us
            record_time(c, TIME_RESPONSE, e.response_us - e.connected_us)
    if e.term[0] == c'C' or e.term[0] == c'c':
        c[COUNT_CLIENT_ABORTS] += 1
    elif e.term[0] == c'S' or e.term[0] == c's':
        if e.term[1] == c'D':
            c[COUNT_SERVER_ABORTS] += 1
        elif e.term[1] == c'H':
            c[COUNT_RESPONSE_ERRORS] += 1


cdef inline int32_t microseconds(uint64_t later, uint64_t earlier) noexcept:
    cdef uint64_t us = later - earlier if later > earlier else 0
    return <int32_t>us if us < 0x7fffffff else 0x7fffffff


cdef void record_span(Exchange e, const LogRecord* r) noexcept:
    cdef SpanFacts f
    cdef bytes route
    memset(&f, 0, sizeof(f))
    f.trace_id = r.trace_id
    f.span_id = e.request_id + 16
    if e.trace.length:
        f.parent_id = e.saved.data + e.trace.at + 36
    if e.action is not None:
        route = e.action.route
        f.route = route
        f.route_len = <uint32_t>len(route)
    f.head = microseconds(e.head_us, e.start_us)
    f.queue = f.connect = f.response = -1
    if e.assigned_us:
        f.queue = microseconds(e.assigned_us, e.head_us)
        if e.connected_us:
            f.connect = microseconds(e.connected_us, e.assigned_us)
            if e.response_us:
                f.response = microseconds(e.response_us, e.connected_us)
    e.core.spans.add(r, &f)


cdef void write_report(Exchange e) noexcept:
    cdef Core core = e.core
    cdef LogRecord r
    cdef uint64_t now = core.reactor.now_us
    cdef uint64_t total
    cdef int by_class = COUNT_OTHER
    cdef const char* base
    cdef const char* reason = e.reason
    cdef bytes name
    if e.start_us == 0:
        e.start_us = now
    total = now - e.start_us
    if 100 <= e.status < 600 and not e.front.tcp:
        by_class = COUNT_1XX + e.status // 100 - 1
    count(e.front.counters, e, by_class, total)
    if e.backend is not None:
        count(e.backend.counters, e, by_class, total)
    if e.server is not None:
        count(e.server.counters, e, by_class, total)
    if e.term[0] == c'P' and e.backend is None:
        e.front.counters[COUNT_BAD_REQUESTS] += 1
    if reason == NULL:
        reason = e.note
    # Of a malformed request nothing was saved: it belongs to no trace.
    cdef bint recorded = e.front.spans and e.trace.sampled and e.saved != NULL
    if (not core.log.enabled and reason == NULL and not recorded) or e.front.internal:
        return
    memset(&r, 0, sizeof(r))
    r.start_us = <int64_t>e.start_us + core.reactor.wall_offset_us
    r.ta = milliseconds(now, e.start_us)
    r.ta_us = <uint32_t>total if total < 0xffffffffu else 0xffffffffu
    r.tr = milliseconds(e.head_us, e.start_us) if e.head_us else -1
    r.tw = -1
    r.tc = -1
    r.trr = -1
    if e.assigned_us:
        r.tw = milliseconds(e.assigned_us, e.head_us)
        if e.connected_us:
            r.tc = milliseconds(e.connected_us, e.assigned_us)
            if e.response_us:
                r.trr = milliseconds(e.response_us, e.connected_us)
    elif e.queueing or e.term[1] == c'Q':
        r.tw = milliseconds(now, e.head_us)
    r.tcp = e.front.tcp
    r.status = 0 if r.tcp else e.status
    r.client = e.client_text
    r.client_len = e.client_len
    r.client_port = e.client_port
    r.https = e.https
    r.retries = e.attempts - 1 if e.attempts else 0
    r.redispatched = e.redispatched
    r.minor = e.minor
    memcpy(r.term, e.term, 4)
    r.bytes_in = e.bytes_in
    r.bytes_out = e.bytes_out
    r.actconn = core.clients
    r.feconn = <uint32_t>e.front.counters[COUNT_OPEN]
    name = e.front.log_name
    r.frontend = name
    r.frontend_len = <uint32_t>len(name)
    if e.backend is not None:
        r.beconn = <uint32_t>e.backend.counters[COUNT_CURRENT]
        r.backend_queue = e.queue_ahead
        name = e.backend.name
    else:
        name = e.front.name
    r.backend = name
    r.backend_len = <uint32_t>len(name)
    if e.server is not None:
        r.srv_conn = e.server_conns
        name = e.server.name
        r.server = name
        r.server_len = <uint32_t>len(name)
    else:
        r.server = b"<NOSRV>"
        r.server_len = 7
    if e.saved != NULL:
        base = e.saved.data
        r.line = base + e.line.off
        r.line_len = e.line.len
        r.host = base + e.host.off
        r.host_len = e.host.len
        r.user_agent = base + e.user_agent.off
        r.user_agent_len = e.user_agent.len
        r.referer = base + e.referer.off
        r.referer_len = e.referer.len
    if not r.tcp:
        r.request_id = e.request_id
        r.request_id_len = 32
    if e.incoming_id.len:
        r.request_id = e.saved.data + e.incoming_id.off
        r.request_id_len = e.incoming_id.len
    if e.front.traces and e.saved != NULL:
        r.trace_id = e.request_id
        if e.trace.length:
            r.trace_id = e.saved.data + e.trace.at + 3
        r.trace_id_len = 32
    if reason != NULL:
        r.reason = reason
        r.reason_len = <uint32_t>strlen(reason)
    if e.extras is not None and e.extras.user is not None:
        name = e.extras.user
        r.user = name
        r.user_len = <uint32_t>len(name)
    if e.tls is not None and core.log.enabled:
        tell_tls(e.tls, &r)
    if core.log.enabled:
        core.log.write(&r)
    if recorded:
        record_span(e, &r)
    if reason != NULL and core.errors is not None:
        # Clients come and go; what a server or the proxy itself did wrong is the operator's business.
        core.errors.log_failure(&r, LEVEL_INFO if e.reason == NULL or e.term[0] in (c'C', c'c', c'P')
                                else LEVEL_WARNING)


cdef void tell_tls(TlsLayer t, LogRecord* r) noexcept:
    cdef bytes identity
    if not t.ready():
        return
    r.tls_version = t.version_text()
    r.tls_cipher = t.cipher_text()
    r.tls_sni = t.name_text()
    r.tls_sni_len = <uint32_t>strlen(r.tls_sni) if r.tls_sni != NULL else 0
    r.tls_version_len = <uint32_t>strlen(r.tls_version) if r.tls_version != NULL else 0
    r.tls_cipher_len = <uint32_t>strlen(r.tls_cipher) if r.tls_cipher != NULL else 0
    r.tls_resumed = t.resumed()
    if t.server is not None and t.server.asks:
        identity = t.identity()         # the layer keeps it
        r.tls_client = identity
        r.tls_client_len = <uint32_t>len(identity)


cdef char* put_word(char* o, const char* key, const char* text, size_t n) noexcept nogil:
    """key="text", with a comma before it; at most 200 characters, and none that a structured field cannot hold."""
    cdef size_t i
    o = put_text(o, key)
    for i in range(n if n < 200 else 200):
        if text[i] == c'"' or text[i] == c'\\':
            o[0] = c'\\'
            o += 1
        o[0] = c'?'
        if 0x20 <= <unsigned char>text[i] <= 0x7e:
            o[0] = text[i]
        o += 1
    o[0] = c'"'
    return o + 1


cdef char* put_ms(char* o, const char* key, uint64_t later, uint64_t earlier) noexcept nogil:
    """key=milliseconds, to the microsecond."""
    cdef uint64_t us = later - earlier if later > earlier else 0
    cdef uint32_t part = <uint32_t>(us % 1000)
    o = put_text(o, key)
    o = put_number(o, <uint32_t>(us // 1000))
    o[0] = c'.'
    o[1] = <char>(c'0' + part // 100)
    o[2] = <char>(c'0' + part // 10 % 10)
    o[3] = <char>(c'0' + part % 10)
    return o + 4


cdef size_t insert_explanation(Exchange e, char* h, size_t n) noexcept:
    """Before the empty line of the head that h[0:n] begins with: X-Fastlb-Explain, a dictionary of RFC 8941."""
    cdef char line[EXPLAIN_ROOM]
    cdef char* o = line
    cdef const char* end
    cdef size_t size, at
    cdef uint64_t now = e.core.reactor.now_us
    if e.client is None or not e.front.explain.contains(e.client.peer()) or n + EXPLAIN_ROOM > HEAD_OUT:
        return n
    end = fl_head_end(h, n)
    if end == NULL:
        return n
    o = put_word(o, b'X-Fastlb-Explain: frontend="', e.front.name, len(e.front.name))
    if e.action is not None:
        o = put_word(o, b', route="', e.action.route, len(e.action.route))
    if e.backend is not None:
        o = put_word(o, b', backend="', e.backend.name, len(e.backend.name))
    if e.server is not None:
        o = put_word(o, b', server="', e.server.name, len(e.server.name))
    o = put_number(put_text(o, b", attempts="), e.attempts)
    if e.assigned_us:
        o = put_ms(o, b", queue=", e.assigned_us, e.head_us)
        if e.connected_us:
            o = put_ms(o, b", connect=", e.connected_us, e.assigned_us)
            if e.response_us:
                o = put_ms(o, b", response=", e.response_us, e.connected_us)
    elif e.backend is not None:
        o = put_ms(o, b", queue=", now, e.head_us)
    if e.reason != NULL:
        o = put_word(o, b', reason="', e.reason, strlen(e.reason))
    o = put_text(o, b"\r\n")
    size = <size_t>(o - line)
    at = <size_t>(end - h)
    memmove(h + at + size, h + at, n - at)
    memcpy(h + at, line, size)
    return n + size


cdef class ExchangeReporter(Reporter):
    """Reports exchanges of every kind of client."""

    cdef void report(self, PyObject* exchange) noexcept:
        write_report(<Exchange>exchange)

    cdef size_t explain(self, PyObject* exchange, char* h, size_t n) noexcept:
        return insert_explanation(<Exchange>exchange, h, n)
