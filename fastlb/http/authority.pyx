"""Host and authority: checked and split in one pass, without allocation (RFC 9110 section 4.2, RFC 3986 section 3.2).

A host is what routing decides by, so it is read strictly: registered name (letters, digits, "-._~", sub-delims without
the comma, percent-encoded bytes), dotted address or bracketed IPv6 address. The comma is legal in RFC 3986 but is what
a server makes of two Host fields when it joins them, so it is refused; so are user information, zone identifiers and
IPvFuture, which no HTTP client sends.
"""

from libc.stdint cimport uint8_t, uint32_t

from fastlb.http.scan cimport FL_DIGIT, FL_HEX, FL_LIKELY, FL_REGNAME, fl_is, fl_lower, fl_run, fl_scan_host


cdef bint valid_ipv4(const uint8_t* p, const uint8_t* end) noexcept nogil:
    # dotted quad, no leading zeros (RFC 3986 section 3.2.2, dec-octet)
    cdef int parts = 0, value, digits
    while True:
        value = digits = 0
        while p < end and fl_is(p[0], FL_DIGIT):
            if digits == 3 or (digits and value == 0):
                return False
            value = value * 10 + p[0] - 48
            digits += 1
            p += 1
        parts += 1
        if digits == 0 or value > 255:
            return False
        if p == end:
            return parts == 4
        if p[0] != 46 or parts == 4:
            return False
        p += 1


cdef bint valid_ipv6(const uint8_t* p, const uint8_t* end) noexcept nogil:
    # RFC 3986 section 3.2.2: eight groups, one "::" for one group or more, the last two may be a dotted quad
    cdef int groups = 0, digits
    cdef bint gap = False
    cdef const uint8_t* start
    if p < end and p[0] == 58:
        if end - p < 2 or p[1] != 58:
            return False
    while p < end:
        if p[0] == 58:
            if p + 1 == end:
                return False                        # ends in a single colon
            if p[1] == 58:
                if gap:
                    return False
                gap = True
                p += 2
                if p == end:
                    break
            elif groups == 0:
                return False
            else:
                p += 1
        elif groups:
            return False
        start = p
        digits = 0
        while p < end and fl_is(p[0], FL_HEX):
            digits += 1
            p += 1
        if p < end and p[0] == 46:
            groups += 2
            if not valid_ipv4(start, end):
                return False
            break
        if digits == 0 or digits > 4:
            return False
        groups += 1
        if groups > 8:
            return False
    return groups <= 7 if gap else groups == 8


cdef bint split_authority(const char* base, const char* text, size_t n, uint32_t* host_len,
                          uint32_t* port) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>text
    cdef const uint8_t* end = p + n
    cdef const uint8_t* q = p
    cdef uint32_t value = 0
    port[0] = 0
    host_len[0] = 0
    if n and p[0] == 91:
        while q < end and q[0] != 93:
            q += 1
        if q == end or not valid_ipv6(p + 1, q):
            return False
        q += 1
    else:
        q = fl_scan_host(p, end, <const uint8_t*>base)
        while True:
            q = fl_run(q, end, FL_REGNAME)
            if FL_LIKELY(q == end) or q[0] != 37:
                break
            if end - q < 3 or not fl_is(q[1], FL_HEX) or not fl_is(q[2], FL_HEX):
                return False
            q += 3
    host_len[0] = <uint32_t>(q - p)
    if q == end:
        return True
    if q[0] != 58:
        return False
    q += 1
    while q < end:
        if not fl_is(q[0], FL_DIGIT):
            return False
        value = value * 10 + q[0] - 48
        if value > 65535:
            return False
        q += 1
    port[0] = value
    return True


cdef bint host_equal(const char* a, size_t an, const char* b, size_t bn) noexcept nogil:
    cdef size_t i
    if an != bn:
        return False
    for i in range(an):
        if fl_lower(<uint8_t>a[i]) != fl_lower(<uint8_t>b[i]):
            return False
    return True


cdef void host_lower(char* out, const char* host, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        out[i] = <char>fl_lower(<uint8_t>host[i])
