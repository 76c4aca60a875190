"""Answers that fastlb gives itself: error pages in HTML or JSON, written into the caller's buffer.

They are never cached and carry no Date: they are written when something is wrong, and must not depend on a clock or on
memory. `Content-Length` is always there, so that the connection can go on where the caller allows it.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, strlen

from fastlb.http.scan cimport FL_DIGIT, FL_TOKEN, fl_is, fl_lower, fl_run, fl_same_name

cdef enum:
    BODY_MAX = 1152             # the page around a reason of REASON_MAX bytes that are all "&amp;"
    REASON_MAX = 160            # bytes of the reason that are shown

cdef struct Out:
    char* at
    char* end
    bint full


cdef void put(Out* o, const char* text, size_t n) noexcept nogil:
    if <size_t>(o.end - o.at) < n:
        o.full = True
        return
    memcpy(o.at, text, n)
    o.at += n


cdef void puts_(Out* o, const char* text) noexcept nogil:
    put(o, text, strlen(text))


cdef void put_number(Out* o, uint32_t value) noexcept nogil:
    cdef char digits[10]
    cdef int i = 10
    while True:
        i -= 1
        digits[i] = <char>(48 + value % 10)
        value //= 10
        if value == 0:
            break
    put(o, digits + i, <size_t>(10 - i))


# The reason comes from tables and configuration, yet nothing in it may become markup.
cdef void put_escaped(Out* o, const char* text, bint json) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>text
    cdef char c
    cdef int n = 0
    while p[0] and n < REASON_MAX:
        c = <char>p[0]
        if p[0] < 32 or p[0] > 126:
            put(o, b"?", 1)
        elif json and (p[0] == 34 or p[0] == 92):
            put(o, b"\\", 1)
            put(o, &c, 1)
        elif not json and p[0] == 38:
            put(o, b"&amp;", 5)
        elif not json and p[0] == 60:
            put(o, b"&lt;", 4)
        elif not json and p[0] == 62:
            put(o, b"&gt;", 4)
        else:
            put(o, &c, 1)
        p += 1
        n += 1


cdef size_t write_body(char* out, int status, bint json, const char* reason) noexcept nogil:
    cdef Out o
    o.at = out
    o.end = out + BODY_MAX
    o.full = False
    if json:
        puts_(&o, b'{"status":')
        put_number(&o, <uint32_t>status)
        puts_(&o, b',"error":"')
        puts_(&o, status_phrase(status))
        if reason is not NULL and reason[0]:
            puts_(&o, b'","reason":"')
            put_escaped(&o, reason, True)
        puts_(&o, b'"}\n')
    else:
        puts_(&o, b'<!doctype html><html lang="en"><meta charset="utf-8"><title>')
        put_number(&o, <uint32_t>status)
        put(&o, b" ", 1)
        puts_(&o, status_phrase(status))
        puts_(&o, b"</title><style>body{font:16px/1.5 sans-serif;margin:12vh auto;max-width:32em;padding:0 1em}"
                  b"</style><h1>")
        put_number(&o, <uint32_t>status)
        put(&o, b" ", 1)
        puts_(&o, status_phrase(status))
        puts_(&o, b"</h1>")
        if reason is not NULL and reason[0]:
            puts_(&o, b"<p>")
            put_escaped(&o, reason, False)
            puts_(&o, b".</p>")
        puts_(&o, b"</html>\n")
    return <size_t>(o.at - out)


cdef size_t write_canned(char* out, size_t cap, int status, bint json, const char* reason, bint close,
                         uint32_t retry_after) noexcept nogil:
    cdef Out o
    cdef char body[BODY_MAX]
    cdef size_t n
    o.at = out
    o.end = out + cap
    o.full = False
    puts_(&o, b"HTTP/1.1 ")
    put_number(&o, <uint32_t>status)
    put(&o, b" ", 1)
    puts_(&o, status_phrase(status))
    if status >= 200 and status != 204 and status != 304:
        n = write_body(body, status, json, reason)
        puts_(&o, b"\r\nContent-Type: application/json" if json else b"\r\nContent-Type: text/html; charset=utf-8")
        puts_(&o, b"\r\nContent-Length: ")
        put_number(&o, <uint32_t>n)
        puts_(&o, b"\r\nCache-Control: no-store")
        if status == 405:
            # required (RFC 9110 section 15.5.6)
            puts_(&o, b"\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE")
        if retry_after:
            puts_(&o, b"\r\nRetry-After: ")
            put_number(&o, retry_after)
        if close:
            puts_(&o, b"\r\nConnection: close")
        puts_(&o, b"\r\n\r\n")
        put(&o, body, n)
    else:
        if close and status >= 200:
            puts_(&o, b"\r\nConnection: close")
        puts_(&o, b"\r\n\r\n")
    return 0 if o.full else <size_t>(o.at - out)


cdef size_t canned_head(const char* message, size_t n) noexcept nogil:
    cdef size_t i = 4
    while i <= n:
        if memcmp(message + i - 4, b"\r\n\r\n", 4) == 0:
            return i
        i += 1
    return n


cdef const char* PHRASES[600]


cdef const char* status_phrase(int status) noexcept nogil:
    if status < 100 or status > 599 or PHRASES[status] is NULL:
        return b"Unknown"
    return PHRASES[status]


cdef void fill_phrases() noexcept:
    PHRASES[100] = b"Continue"
    PHRASES[101] = b"Switching Protocols"
    PHRASES[102] = b"Processing"
    PHRASES[103] = b"Early Hints"
    PHRASES[200] = b"OK"
    PHRASES[201] = b"Created"
    PHRASES[202] = b"Accepted"
    PHRASES[203] = b"Non-Authoritative Information"
    PHRASES[204] = b"No Content"
    PHRASES[205] = b"Reset Content"
    PHRASES[206] = b"Partial Content"
    PHRASES[207] = b"Multi-Status"
    PHRASES[208] = b"Already Reported"
    PHRASES[226] = b"IM Used"
    PHRASES[300] = b"Multiple Choices"
    PHRASES[301] = b"Moved Permanently"
    PHRASES[302] = b"Found"
    PHRASES[303] = b"See Other"
    PHRASES[304] = b"Not Modified"
    PHRASES[305] = b"Use Proxy"
    PHRASES[307] = b"Temporary Redirect"
    PHRASES[308] = b"Permanent Redirect"
    PHRASES[400] = b"Bad Request"
    PHRASES[401] = b"Unauthorized"
    PHRASES[402] = b"Payment Required"
    PHRASES[403] = b"Forbidden"
    PHRASES[404] = b"Not Found"
    PHRASES[405] = b"Method Not Allowed"
    PHRASES[406] = b"Not Acceptable"
    PHRASES[407] = b"Proxy Authentication Required"
    PHRASES[408] = b"Request Timeout"
    PHRASES[409] = b"Conflict"
    PHRASES[410] = b"Gone"
    PHRASES[411] = b"Length Required"
    PHRASES[412] = b"Precondition Failed"
    PHRASES[413] = b"Content Too Large"
    PHRASES[414] = b"URI Too Long"
    PHRASES[415] = b"Unsupported Media Type"
    PHRASES[416] = b"Range Not Satisfiable"
    PHRASES[417] = b"Expectation Failed"
    PHRASES[418] = b"I'm a Teapot"
    PHRASES[421] = b"Misdirected Request"
    PHRASES[422] = b"Unprocessable Content"
    PHRASES[423] = b"Locked"
    PHRASES[424] = b"Failed Dependency"
    PHRASES[425] = b"Too Early"
    PHRASES[426] = b"Upgrade Required"
    PHRASES[428] = b"Precondition Required"
    PHRASES[429] = b"Too Many Requests"
    PHRASES[431] = b"Request Header Fields Too Large"
    PHRASES[451] = b"Unavailable For Legal Reasons"
    PHRASES[500] = b"Internal Server Error"
    PHRASES[501] = b"Not Implemented"
    PHRASES[502] = b"Bad Gateway"
    PHRASES[503] = b"Service Unavailable"
    PHRASES[504] = b"Gateway Timeout"
    PHRASES[505] = b"HTTP Version Not Supported"
    PHRASES[506] = b"Variant Also Negotiates"
    PHRASES[507] = b"Insufficient Storage"
    PHRASES[508] = b"Loop Detected"
    PHRASES[510] = b"Not Extended"
    PHRASES[511] = b"Network Authentication Required"


fill_phrases()


cdef inline const uint8_t* skip_space(const uint8_t* p, const uint8_t* end) noexcept nogil:
    while p < end and (p[0] == 32 or p[0] == 9):
        p += 1
    return p


# Weight in thousandths (RFC 9110 section 12.4.2); a malformed one counts as nothing.
cdef int weight(const uint8_t* p, const uint8_t* end) noexcept nogil:
    cdef int value, scale = 100
    if p == end or (p[0] != 48 and p[0] != 49):
        return 0
    value = (p[0] - 48) * 1000
    p += 1
    if p < end and p[0] == 46:
        p += 1
        while p < end and fl_is(p[0], FL_DIGIT):
            value += (p[0] - 48) * scale
            scale //= 10
            p += 1
    return value if value <= 1000 else 1000


cdef bint ends_json(const uint8_t* p, size_t n) noexcept nogil:
    return n > 5 and p[n - 5] == 43 and fl_same_name(p + n - 4, <const uint8_t*>b"json", 4)


cdef bint wants_json(const char* accept, size_t n) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>accept
    cdef const uint8_t* end = p + n
    cdef const uint8_t* major
    cdef const uint8_t* minor
    cdef const uint8_t* name
    cdef size_t major_len, minor_len
    cdef int html = 0, json = 0, q, rank
    cdef int html_rank = 0, json_rank = 0      # the most specific range decides
    while p < end:
        p = skip_space(p, end)
        major = p
        p = fl_run(p, end, FL_TOKEN)
        major_len = <size_t>(p - major)
        if major_len == 0 or p == end or p[0] != 47:
            major_len = minor_len = 0
            minor = p
        else:
            minor = p + 1
            p = fl_run(minor, end, FL_TOKEN)
            minor_len = <size_t>(p - minor)
        q = 1000
        while True:
            p = skip_space(p, end)
            if p == end or p[0] != 59:
                break
            p = skip_space(p + 1, end)
            name = p
            p = fl_run(p, end, FL_TOKEN)
            if p < end and p[0] == 61:
                if p - name == 1 and fl_lower(name[0]) == 113:
                    q = weight(p + 1, end)
                p += 1
                if p < end and p[0] == 34:
                    p += 1
                    while p < end and p[0] != 34:
                        p += 2 if p[0] == 92 and p + 1 < end else 1
                    if p < end:
                        p += 1
                else:
                    p = fl_run(p, end, FL_TOKEN)
        while p < end and p[0] != 44:
            p += 1
        if p < end:
            p += 1
        if major_len == 1 and major[0] == 42 and minor_len == 1 and minor[0] == 42:
            if html_rank <= 1:
                html = q
                html_rank = 1
            if json_rank <= 1:
                json = q
                json_rank = 1
        elif major_len == 4 and fl_same_name(major, <const uint8_t*>b"text", 4):
            rank = 2 if minor_len == 1 and minor[0] == 42 else 3
            if html_rank <= rank and (rank == 2 or (minor_len == 4 and fl_same_name(
                    minor, <const uint8_t*>b"html", 4))):
                html = q
                html_rank = rank
        elif major_len == 11 and fl_same_name(major, <const uint8_t*>b"application", 11):
            rank = 2 if minor_len == 1 and minor[0] == 42 else 3
            if json_rank <= rank and (rank == 2 or ends_json(minor, minor_len) or (minor_len == 4 and fl_same_name(
                    minor, <const uint8_t*>b"json", 4))):
                json = q
                json_rank = rank
            elif minor_len == 9 and html_rank < 3 and fl_same_name(minor, <const uint8_t*>b"xhtml+xml", 9):
                html = q
                html_rank = 2
    return json > html


def canned_response(status: int, *, json: bool = False, reason: str | None = None, close: bool = False,
                    retry_after: int = 0) -> bytes:
    """The complete message for a status of 100 to 599; `retry_after` in seconds, 0 for none."""
    cdef char out[CANNED_MAX]
    cdef bytes text = b"" if reason is None else reason.encode("ascii", "replace").replace(b"\0", b"?")
    cdef size_t n
    if not 100 <= status <= 599:
        raise ValueError("status must be 100 to 599")
    if not 0 <= retry_after <= 0xffffffff:
        raise ValueError("retry_after must be 0 to 4294967295")
    n = write_canned(out, sizeof(out), status, json, text, close, <uint32_t>retry_after)
    return out[:n]


def prefers_json(accept: bytes) -> bool:
    """True when an Accept value prefers JSON to HTML (RFC 9110 section 12.5.1)."""
    return wants_json(accept, len(accept))


def phrase(status: int) -> str:
    """Reason phrase of a status, "Unknown" where there is none."""
    return status_phrase(status).decode()
