"""What is written and counted when a flow ends, or cannot begin: the access log line, times, the error log.

Datagrams and bytes are counted as they pass, since a flow may last for days.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset, strlen
from fastlb._core.net cimport ntohs
from fastlb.engine.core cimport Core
from fastlb.engine.error_log cimport LEVEL_INFO, LEVEL_WARNING
from fastlb.engine.networks cimport ADDRESS_TEXT, format_address
from fastlb.engine.stats cimport (
    COUNT_CURRENT, COUNT_OPEN, COUNT_RESPONSE_US, COUNT_SERVER_ABORTS, COUNT_TOTAL_US, TIME_RESPONSE, TIME_TOTAL,
    record_time)


cdef inline void count(uint64_t* c, const FlowStory* s, uint64_t total, const char* term) noexcept:
    c[COUNT_TOTAL_US] += total
    record_time(c, TIME_TOTAL, total)
    if s.asked_us and s.response_us > s.asked_us:
        c[COUNT_RESPONSE_US] += s.response_us - s.asked_us
        record_time(c, TIME_RESPONSE, s.response_us - s.asked_us)
    if term[0] == c's' or term[0] == c'S':
        c[COUNT_SERVER_ABORTS] += 1


cdef void report_flow(UdpPort port, const fl_dgram* client, Backend backend, Server server, const FlowStory* story,
                      const char* term, const char* reason) noexcept:
    cdef Core core = port.core
    cdef LogRecord r
    cdef uint64_t now = core.reactor.now_us
    cdef uint64_t total = now - story.start_us if now > story.start_us else 0
    cdef char address[ADDRESS_TEXT]
    cdef bytes name
    count(port.front.counters, story, total, term)
    if backend is not None:
        count(backend.counters, story, total, term)
    if server is not None:
        count(server.counters, story, total, term)
    if not core.log.enabled and reason == NULL:
        return
    memset(&r, 0, sizeof(r))
    r.start_us = <int64_t>story.start_us + core.reactor.wall_offset_us
    r.ta = <int32_t>(total // 1000) if total // 1000 < 0x7fffffff else 0x7fffffff
    r.ta_us = <uint32_t>total if total < 0xffffffffu else 0xffffffffu
    r.tw = -1
    r.tc = -1
    r.trr = -1
    if server is not None:
        r.tw = 0
        r.tc = 0
        if story.asked_us and story.response_us >= story.asked_us:
            r.trr = <int32_t>((story.response_us - story.asked_us) // 1000)
    r.client = address
    r.client_len = format_address(&client.peer.head, address)
    r.client_port = ntohs(client.peer.v4.sin_port)      # at the same place in both families
    r.retries = <uint8_t>(story.moves if story.moves < 255 else 255)
    r.redispatched = story.moves > 0
    memcpy(r.term, term, 2)
    r.term[2] = c'-'
    r.term[3] = c'-'
    r.bytes_in = story.bytes_in
    r.bytes_out = story.bytes_out
    r.actconn = core.clients
    r.feconn = <uint32_t>port.front.counters[COUNT_OPEN]
    name = port.front.log_name
    r.frontend = name
    r.frontend_len = <uint32_t>len(name)
    name = port.front.name
    if backend is not None:
        name = backend.name
        r.beconn = <uint32_t>backend.counters[COUNT_CURRENT]
    r.backend = name
    r.backend_len = <uint32_t>len(name)
    r.server = b"<NOSRV>"
    r.server_len = 7
    if server is not None:
        name = server.name
        r.server = name
        r.server_len = <uint32_t>len(name)
        r.srv_conn = <uint32_t>server.counters[COUNT_CURRENT]
    r.tcp = 2
    r.datagrams_in = story.requests
    r.datagrams_out = story.responses
    if reason != NULL:
        r.reason = reason
        r.reason_len = <uint32_t>strlen(reason)
    if core.log.enabled:
        core.log.write(&r)
    if reason != NULL and core.errors is not None:
        core.errors.log_failure(&r, LEVEL_WARNING if term[0] == c'S' else LEVEL_INFO)
