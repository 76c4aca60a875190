"""What is written and counted about an exchange when it ends: the access log line, the counters, the error log."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen
from fastlb.engine.log_record cimport LogRecord
from fastlb.engine.error_log cimport LEVEL_INFO, LEVEL_WARNING
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.stats cimport (
    COUNT_1XX, COUNT_BAD_REQUESTS, COUNT_BYTES_IN, COUNT_BYTES_OUT, COUNT_CLIENT_ABORTS, COUNT_CONNECT_US,
    COUNT_CURRENT, COUNT_OPEN, COUNT_OTHER, COUNT_QUEUE_US, COUNT_REQUESTS, COUNT_RESPONSE_ERRORS, COUNT_RESPONSE_US,
    COUNT_SERVER_ABORTS, COUNT_TOTAL_US, TIME_CONNECT, TIME_QUEUE, TIME_RESPONSE, TIME_TOTAL, record_time)


cdef inline int32_t milliseconds(uint64_t later, uint64_t earlier) noexcept:
    return <int32_t>((later - earlier) // 1000) if later >= earlier else 0


cdef inline void count(uint64_t* c, Exchange e, int by_class, uint64_t total) noexcept:
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


cdef void write_report(Exchange e) noexcept:
    cdef Core core = e.core
    cdef LogRecord r
    cdef uint64_t now = core.reactor.now_us
    cdef uint64_t total
    cdef int by_class = COUNT_OTHER
    cdef const char* base
    cdef bytes name
    if e.start_us == 0:
        e.start_us = now
    total = now - e.start_us
    if 100 <= e.status < 600:
        by_class = COUNT_1XX + e.status // 100 - 1
    count(e.front.counters, e, by_class, total)
    if e.backend is not None:
        count(e.backend.counters, e, by_class, total)
    if e.server is not None:
        count(e.server.counters, e, by_class, total)
    if e.term[0] == c'P' and e.backend is None:
        e.front.counters[COUNT_BAD_REQUESTS] += 1
    if not core.log.enabled and e.reason == NULL:
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
    r.status = e.status
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
    r.request_id = e.request_id
    r.request_id_len = 32
    if e.incoming_id.len:
        r.request_id = e.saved.data + e.incoming_id.off
        r.request_id_len = e.incoming_id.len
    if e.reason != NULL:
        r.reason = e.reason
        r.reason_len = <uint32_t>strlen(e.reason)
    if core.log.enabled:
        core.log.write(&r)
    if e.reason != NULL and core.errors is not None:
        # Clients come and go; what a server or the proxy itself did wrong is the operator's business.
        core.errors.log_failure(&r, LEVEL_INFO if e.term[0] in (c'C', c'c', c'P') else LEVEL_WARNING)


cdef class ExchangeReporter(Reporter):
    """Reports exchanges of every kind of client."""

    cdef void report(self, PyObject* exchange) noexcept:
        write_report(<Exchange>exchange)
