"""The spelling of access log lines: HAProxy's httplog and httpslog, JSON, nginx's combined.

The caller has reserved `line_bound()` bytes. Sources: HAProxy configuration manual 8.2.3 (HTTP log format), nginx
ngx_http_log_module (combined).
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from fastlb.engine.log_text cimport (
    DateSlot,
    date_of,
    dates_init,
    fl_lit,
    millis,
    put_haproxy,
    put_iso,
    put_json,
    put_name,
    put_number,
    put_quoted,
    put_term,
    put_timer,
    seconds,
    three,
)

cdef extern from *:
    """
    #include <string.h>
    static inline const char* fl_last_space(const char* s, size_t n) {
        return (const char*)memrchr(s, ' ', n);
    }
    """
    const char* fl_last_space(const char* s, size_t n) noexcept nogil

# A file takes lines of any length; a datagram should stay below what syslog daemons accept (8 KB); a pipe keeps lines
# of several processes apart only up to PIPE_BUF (4096).
cdef Caps _caps_file, _caps_datagram, _caps_pipe


cdef void _set_caps(
    Caps* c, uint32_t line, uint32_t host, uint32_t agent, uint32_t referer, uint32_t rid, uint32_t reason,
    uint32_t name,
) noexcept:
    c.line = line
    c.host = host
    c.agent = agent
    c.referer = referer
    c.request_id = rid
    c.reason = reason
    c.name = name
    c.client = 64
    c.bare = line + host + agent + referer + reason


_set_caps(&_caps_file, 16384, 512, 2048, 4096, 256, 512, 256)
_set_caps(&_caps_datagram, 3584, 256, 832, 1024, 128, 256, 96)
_set_caps(&_caps_pipe, 1472, 128, 224, 288, 64, 160, 64)


cdef const Caps* caps_for(uint32_t limit) noexcept nogil:
    """The field lengths that keep a whole line within `limit` bytes; 0 = no limit."""
    if limit == 0:
        return &_caps_file
    return &_caps_pipe if limit < 8192 else &_caps_datagram


cdef void format_init(FormatState* st) noexcept nogil:
    memset(st, 0, sizeof(FormatState))
    dates_init(&st.dates)
    st.caps = &_caps_file


cdef char* put_header(char* p, const LogRecord* r, FormatState* st) noexcept nogil:
    """The syslog header, dated at the end of the exchange, which is when the line is written."""
    cdef int64_t now = r.start_us + r.ta_us
    memcpy(p, st.before, st.before_len)
    p += st.before_len
    memcpy(p, date_of(&st.dates, seconds(now)).syslog, 15)
    p += 15
    memcpy(p, st.after, st.after_len)
    return p + st.after_len


cdef char* format_httplog(char* p, const LogRecord* r, FormatState* st) noexcept nogil:
    """HAProxy's `option httplog` line without captures: %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B ... "%r".

    A session of layer 4 gets the line of `option tcplog`: %ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/...
    """
    cdef const Caps* c = st.caps
    p = put_name(p, r.client, r.client_len, c.client)
    p[0] = c':'
    p = put_number(p + 1, r.client_port)
    p[0] = c' '
    p[1] = c'['
    memcpy(p + 2, date_of(&st.dates, seconds(r.start_us)).local, 20)
    p[22] = c'.'
    p = three(p + 23, millis(r.start_us))
    p[0] = c']'
    p[1] = c' '
    p = put_name(p + 2, r.frontend, r.frontend_len, c.name)
    if r.https:
        p[0] = c'~'
        p += 1
    p[0] = c' '
    p = put_name(p + 1, r.backend, r.backend_len, c.name)
    p[0] = c'/'
    p = put_name(p + 1, r.server, r.server_len, c.name)
    p[0] = c' '
    p += 1
    if not r.tcp:
        p = put_timer(p, r.tr)
        p[0] = c'/'
        p += 1
    p = put_timer(p, r.tw)
    p[0] = c'/'
    p = put_timer(p + 1, r.tc)
    p[0] = c'/'
    p += 1
    if not r.tcp:
        p = put_timer(p, r.trr)
        p[0] = c'/'
        p += 1
    p = put_timer(p, r.ta)
    p[0] = c' '
    p += 1
    if r.tcp:
        p = put_number(p, r.bytes_out)
        p[0] = c' '
        p = put_term(p + 1, r.term) - 2
    else:
        p = put_timer(p, r.status if r.status != 0 else -1)
        p[0] = c' '
        p = put_number(p + 1, r.bytes_out)
        p = fl_lit(p, b" - - ")
        p = put_term(p, r.term)
    p[0] = c' '
    p = put_number(p + 1, r.actconn)
    p[0] = c'/'
    p = put_number(p + 1, r.feconn)
    p[0] = c'/'
    p = put_number(p + 1, r.beconn)
    p[0] = c'/'
    p = put_number(p + 1, r.srv_conn)
    p[0] = c'/'
    p += 1
    if r.redispatched:
        p[0] = c'+'
        p += 1
    p = put_number(p, r.retries)
    p[0] = c' '
    p = put_number(p + 1, r.srv_queue)
    p[0] = c'/'
    p = put_number(p + 1, r.backend_queue)
    if r.tcp:
        return p
    p[0] = c' '
    p[1] = c'"'
    p += 2
    if r.line_len == 0:
        p = fl_lit(p, b"<BADREQ>")
    else:
        p = put_haproxy(p, r.line, r.line_len, c.bare)
    p[0] = c'"'
    return p + 1


cdef inline char* _tls_word(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil:
    if n == 0:
        p[0] = c'-'
        return p + 1
    return put_name(p, s, n, cap)


cdef char* format_httpslog(char* p, const LogRecord* r, FormatState* st) noexcept nogil:
    """HAProxy's `option httpslog`: httplog, then %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/
    %[ssl_fc_is_resumed] %[ssl_fc_sni]/%sslv/%sslc (configuration manual 8.2.4). What is logged has no handshake error.
    """
    cdef const Caps* c = st.caps
    p = format_httplog(p, r, st)
    if r.tls_version_len == 0:
        return fl_lit(p, b" 0/-/-/-/0 -/-/-")
    p = fl_lit(p, b" 0/0000000000000000/0/0/1 ") if r.tls_resumed else fl_lit(p, b" 0/0000000000000000/0/0/0 ")
    p = _tls_word(p, r.tls_sni, r.tls_sni_len, c.host)
    p[0] = c'/'
    p = _tls_word(p + 1, r.tls_version, r.tls_version_len, 16)
    p[0] = c'/'
    return _tls_word(p + 1, r.tls_cipher, r.tls_cipher_len, 64)


cdef inline char* _null(char* p) noexcept nogil:
    return fl_lit(p, b"null")


cdef inline char* _json_text(char* p, const char* s, uint32_t n, uint32_t cap) noexcept nogil:
    p[0] = c'"'
    p = put_json(p + 1, s, n, cap)
    p[0] = c'"'
    return p + 1


cdef inline char* _json_timer(char* p, int32_t v) noexcept nogil:
    return _null(p) if v < 0 else put_number(p, <uint64_t>v)


cdef inline char* _json_request(char* p, const LogRecord* r, const Caps* c) noexcept nogil:
    """The request line in its three parts (RFC 9112 section 3); one that has not three is all target."""
    cdef const char* first = NULL
    cdef const char* last = NULL
    if r.line_len != 0:
        first = <const char*>memchr(r.line, c' ', r.line_len)
        last = fl_last_space(r.line, r.line_len)
    if first == NULL or first == last:
        p = fl_lit(p, b",\"method\":null,\"target\":")
        p = _null(p) if r.line_len == 0 else _json_text(p, r.line, r.line_len, c.line)
        return fl_lit(p, b",\"protocol\":null")
    p = fl_lit(p, b",\"method\":")
    p = _json_text(p, r.line, <uint32_t>(first - r.line), 96)
    p = fl_lit(p, b",\"target\":")
    p = _json_text(p, first + 1, <uint32_t>(last - first - 1), c.line)
    p = fl_lit(p, b",\"protocol\":")
    return _json_text(p, last + 1, <uint32_t>(r.line + r.line_len - last - 1), 64)


cdef char* format_json(char* p, const LogRecord* r, FormatState* st) noexcept nogil:
    """One JSON object; null where a point was never reached; host, agent, referer, id and reason only if present."""
    cdef const Caps* c = st.caps
    p = fl_lit(p, b"{\"time\":\"")
    p = put_iso(p, r.start_us, &st.dates)
    p = fl_lit(p, b"\",\"client\":")
    p = _json_text(p, r.client, r.client_len, c.client)
    p = fl_lit(p, b",\"client_port\":")
    p = put_number(p, r.client_port)
    p = fl_lit(p, b",\"frontend\":")
    p = _json_text(p, r.frontend, r.frontend_len, c.name)
    p = fl_lit(p, b",\"backend\":")
    p = _json_text(p, r.backend, r.backend_len, c.name)
    p = fl_lit(p, b",\"server\":")
    if r.server_len == 0 or r.server[0] == c'<':
        p = _null(p)
    else:
        p = _json_text(p, r.server, r.server_len, c.name)
    if r.tcp == 2:
        p = fl_lit(p, b",\"scheme\":\"udp\",\"datagrams_in\":")
        p = put_number(p, r.datagrams_in)
        p = fl_lit(p, b",\"datagrams_out\":")
        p = put_number(p, r.datagrams_out)
    elif r.tcp:
        p = fl_lit(p, b",\"scheme\":\"tls\"") if r.https else fl_lit(p, b",\"scheme\":\"tcp\"")
    elif r.https:
        p = fl_lit(p, b",\"scheme\":\"https\"")
    else:
        p = fl_lit(p, b",\"scheme\":\"http\"")
    if r.host_len != 0:
        p = fl_lit(p, b",\"sni\":") if r.tcp else fl_lit(p, b",\"host\":")
        p = _json_text(p, r.host, r.host_len, c.host)
    if r.tls_version_len != 0:
        p = fl_lit(p, b",\"tls_version\":")
        p = _json_text(p, r.tls_version, r.tls_version_len, 16)
        p = fl_lit(p, b",\"tls_cipher\":")
        p = _json_text(p, r.tls_cipher, r.tls_cipher_len, 64)
        p = fl_lit(p, b",\"tls_resumed\":true") if r.tls_resumed else fl_lit(p, b",\"tls_resumed\":false")
        if r.tls_sni_len != 0:
            p = fl_lit(p, b",\"tls_sni\":")
            p = _json_text(p, r.tls_sni, r.tls_sni_len, c.host)
        if r.tls_client_len != 0:
            p = fl_lit(p, b",\"tls_client\":")
            p = _json_text(p, r.tls_client, r.tls_client_len, c.reason)
    if not r.tcp:
        p = _json_request(p, r, c)
        p = fl_lit(p, b",\"status\":")
        p = put_number(p, r.status) if r.status != 0 else _null(p)
    p = fl_lit(p, b",\"bytes_in\":")
    p = put_number(p, r.bytes_in)
    p = fl_lit(p, b",\"bytes_out\":")
    p = put_number(p, r.bytes_out)
    p = fl_lit(p, b",\"duration_ms\":")
    if r.ta < 0:
        p = _null(p)
    else:
        p = put_number(p, r.ta_us // 1000)
        p[0] = c'.'
        p = three(p + 1, r.ta_us % 1000)
    p = fl_lit(p, b",\"request_ms\":")
    p = _json_timer(p, r.tr)
    p = fl_lit(p, b",\"queue_ms\":")
    p = _json_timer(p, r.tw)
    p = fl_lit(p, b",\"connect_ms\":")
    p = _json_timer(p, r.tc)
    p = fl_lit(p, b",\"response_ms\":")
    p = _json_timer(p, r.trr)
    p = fl_lit(p, b",\"termination\":\"")
    p = put_term(p, r.term)
    p = fl_lit(p, b"\",\"retries\":")
    p = put_number(p, r.retries)
    if r.redispatched:
        p = fl_lit(p, b",\"redispatched\":true")
    else:
        p = fl_lit(p, b",\"redispatched\":false")
    p = fl_lit(p, b",\"connections\":")
    p = put_number(p, r.actconn)
    p = fl_lit(p, b",\"frontend_connections\":")
    p = put_number(p, r.feconn)
    p = fl_lit(p, b",\"backend_connections\":")
    p = put_number(p, r.beconn)
    p = fl_lit(p, b",\"server_connections\":")
    p = put_number(p, r.srv_conn)
    p = fl_lit(p, b",\"server_queue\":")
    p = put_number(p, r.srv_queue)
    p = fl_lit(p, b",\"backend_queue\":")
    p = put_number(p, r.backend_queue)
    if r.user_agent_len != 0:
        p = fl_lit(p, b",\"user_agent\":")
        p = _json_text(p, r.user_agent, r.user_agent_len, c.agent)
    if r.referer_len != 0:
        p = fl_lit(p, b",\"referer\":")
        p = _json_text(p, r.referer, r.referer_len, c.referer)
    if r.request_id_len != 0:
        p = fl_lit(p, b",\"request_id\":")
        p = _json_text(p, r.request_id, r.request_id_len, c.request_id)
    if r.trace_id_len == 32:
        p = fl_lit(p, b",\"trace_id\":\"")
        memcpy(p, r.trace_id, 32)
        p[32] = c'"'
        p += 33
    if r.user_len != 0:
        p = fl_lit(p, b",\"user\":")
        p = _json_text(p, r.user, r.user_len, c.name)
    if r.reason_len != 0:
        p = fl_lit(p, b",\"reason\":")
        p = _json_text(p, r.reason, r.reason_len, c.reason)
    p[0] = c'}'
    return p + 1


cdef char* format_combined(char* p, const LogRecord* r, FormatState* st) noexcept nogil:
    """nginx's combined: client - user [date zone] "request" status bytes "referer" "agent".

    The date is that of the request, as in Apache; the bytes count the head too (HAProxy's %B), which nginx leaves out.
    """
    cdef const Caps* c = st.caps
    cdef const DateSlot* d = date_of(&st.dates, seconds(r.start_us))
    p = put_name(p, r.client, r.client_len, c.client)
    p = fl_lit(p, b" - ")
    p = put_name(p, r.user, r.user_len, c.name) if r.user_len != 0 else fl_lit(p, b"-")
    p = fl_lit(p, b" [")
    memcpy(p, d.local, 20)
    p[20] = c' '
    memcpy(p + 21, d.zone, 5)
    p = fl_lit(p + 26, b"] \"")
    if r.line_len == 0:
        p[0] = c'-'
        p += 1
    else:
        p = put_quoted(p, r.line, r.line_len, c.line)
    p = fl_lit(p, b"\" ")
    p = three(p, r.status % 1000)
    p[0] = c' '
    p = put_number(p + 1, r.bytes_out)
    p = fl_lit(p, b" \"")
    p = put_quoted(p, r.referer, r.referer_len, c.referer) if r.referer_len != 0 else fl_lit(p, b"-")
    p = fl_lit(p, b"\" \"")
    p = put_quoted(p, r.user_agent, r.user_agent_len, c.agent) if r.user_agent_len != 0 else fl_lit(p, b"-")
    p[0] = c'"'
    return p + 1


cdef char* format_failure(char* p, const LogRecord* r, FormatState* st) noexcept nogil:
    """The fields of an error log line, logfmt: frontend=.. backend=.. server=.. client=.. status=.. reason=".."."""
    cdef const Caps* c = st.caps
    p = fl_lit(p, b"frontend=")
    p = put_name(p, r.frontend, r.frontend_len, c.name)
    p = fl_lit(p, b" backend=")
    p = put_name(p, r.backend, r.backend_len, c.name)
    p = fl_lit(p, b" server=")
    p = put_name(p, r.server, r.server_len, c.name)
    p = fl_lit(p, b" client=")
    if r.client_len != 0 and memchr(r.client, c':', r.client_len) != NULL:
        p[0] = c'['
        p = put_name(p + 1, r.client, r.client_len, c.client)
        p[0] = c']'
        p += 1
    else:
        p = put_name(p, r.client, r.client_len, c.client)
    p[0] = c':'
    p = put_number(p + 1, r.client_port)
    p = fl_lit(p, b" status=")
    p = put_timer(p, r.status if r.status != 0 else -1)
    p = fl_lit(p, b" reason=\"")
    p = put_quoted(p, r.reason, r.reason_len, c.reason) if r.reason_len != 0 else p
    p[0] = c'"'
    return p + 1
