"""Who the client is, told to the server: X-Forwarded-*, Forwarded (RFC 7239), X-Request-ID; and its trace."""

from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy
from fastlb.http.fields cimport (
    FIELD_FORWARDED, FIELD_TRACEPARENT, FIELD_X_FORWARDED_CLIENT_CERT, FIELD_X_FORWARDED_FOR, FIELD_X_FORWARDED_HOST,
    FIELD_X_FORWARDED_PORT, FIELD_X_FORWARDED_PROTO, FIELD_X_REQUEST_ID, Field)
from fastlb.http.put cimport put, put_number, put_text

import os

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #define FL_ALL(byte) ((uint64_t)(byte) * 0x0101010101010101ULL)
    /* True when all n bytes, n being a multiple of 8, are lower-case hex digits and not all of them 0. Eight at a time:
       a sum has its high bit set when the byte is at or above a bound, and no sum of two such bytes carries. */
    static inline __attribute__((always_inline)) int fl_hex_id(const char* text, size_t n) {
        uint64_t bad = 0, any = 0, w;
        for (size_t i = 0; i < n; i += 8) {
            memcpy(&w, text + i, 8);
            uint64_t low = w & FL_ALL(0x7f);
            uint64_t digit = (low + FL_ALL(0x80 - '0')) & ~(low + FL_ALL(0x80 - '9' - 1));
            uint64_t letter = (low + FL_ALL(0x80 - 'a')) & ~(low + FL_ALL(0x80 - 'f' - 1));
            bad |= ~(digit | letter) | w;
            any |= w ^ FL_ALL('0');
        }
        return !(bad & FL_ALL(0x80)) && any;
    }
    static inline int fl_hex_digit(char c) {
        return (unsigned char)(c - '0') <= 9 || (unsigned char)(c - 'a') <= 5;
    }
    """
    bint fl_hex_id(const char* text, size_t n) nogil
    bint fl_hex_digit(char c) nogil


cdef char* put_list(char* o, const char* buf, const RequestHead* h, int field_id) noexcept nogil:
    """The values of all lines of that name as one list, with ", " behind each."""
    cdef uint32_t i
    cdef const Field* f
    for i in range(<uint32_t>h.seen[field_id] - 1, h.nfields):
        f = &h.fields[i]
        if f.id == field_id and f.value_len:
            o = put(o, buf + f.value, f.value_len)
            o = put_text(o, b", ")
    return o


cdef char* put_forwarded(char* o, const char* buf, const RequestHead* h, const ForwardInfo* info) noexcept nogil:
    """One element of RFC 7239: for, host, proto. The host is always quoted (it may hold a colon, section 4)."""
    cdef uint32_t i
    cdef bint v6 = False
    o = put_text(o, b"for=")
    if info.client_len == 0:
        o = put_text(o, b"unknown")
    else:
        for i in range(info.client_len):
            if info.client[i] == c':':
                v6 = True
                break
        if v6:
            o = put_text(o, b'"[')
        o = put(o, info.client, info.client_len)
        if v6:
            o = put_text(o, b']"')
    if h.authority.len:
        o = put_text(o, b';host="')
        for i in range(h.authority.off, h.authority.off + h.authority.len):
            if buf[i] == c'"' or buf[i] == c'\\':
                o[0] = c'\\'
                o += 1
            o[0] = buf[i]
            o += 1
        o[0] = c'"'
        o += 1
    o = put_text(o, b";proto=")
    return put_text(o, b"https") if info.https else put_text(o, b"http")


cdef char* put_identity(char* o, const char* buf, const RequestHead* h, uint32_t want,
                        const ForwardInfo* info) noexcept nogil:
    cdef char* mark = o
    if want & 1u << FIELD_X_FORWARDED_FOR:
        o = put_text(o, b"X-Forwarded-For: ")
        if info.trusted and h.seen[<int>FIELD_X_FORWARDED_FOR]:
            o = put_list(o, buf, h, FIELD_X_FORWARDED_FOR)
        if info.client_len:
            o = put(o, info.client, info.client_len)
            o = put_text(o, b"\r\n")
        elif o - mark > 17:
            o = put_text(o - 2, b"\r\n")        # a list came in, and there is nothing to append to it
        else:
            o = mark
    if want & 1u << FIELD_X_FORWARDED_PROTO:
        if info.https:
            o = put_text(o, b"X-Forwarded-Proto: https\r\n")
        else:
            o = put_text(o, b"X-Forwarded-Proto: http\r\n")
    if not want & ~(1u << FIELD_X_FORWARDED_FOR | 1u << FIELD_X_FORWARDED_PROTO):
        return o
    if want & 1u << FIELD_X_FORWARDED_HOST and h.authority.len:
        o = put_text(o, b"X-Forwarded-Host: ")
        o = put(o, buf + h.authority.off, h.authority.len)
        o = put_text(o, b"\r\n")
    if want & 1u << FIELD_X_FORWARDED_PORT:
        o = put_text(o, b"X-Forwarded-Port: ")
        o = put_number(o, info.port)
        o = put_text(o, b"\r\n")
    if want & 1u << FIELD_FORWARDED:
        o = put_text(o, b"Forwarded: ")
        if info.trusted and h.seen[<int>FIELD_FORWARDED]:
            o = put_list(o, buf, h, FIELD_FORWARDED)
        o = put_forwarded(o, buf, h, info)
        o = put_text(o, b"\r\n")
    if want & 1u << FIELD_X_REQUEST_ID:
        o = put_text(o, b"X-Request-ID: ")
        if info.request_id_len:
            o = put(o, info.request_id, info.request_id_len)
        else:
            make_request_id(o)
            o += 32
        o = put_text(o, b"\r\n")
    if want & 1u << FIELD_X_FORWARDED_CLIENT_CERT:
        mark = o
        o = put_text(o, b"X-Forwarded-Client-Cert: ")
        if info.trusted and h.seen[<int>FIELD_X_FORWARDED_CLIENT_CERT]:
            o = put_list(o, buf, h, FIELD_X_FORWARDED_CLIENT_CERT)
        if info.client_cert_len:
            o = put(o, info.client_cert, info.client_cert_len)
            o = put_text(o, b"\r\n")
        elif o - mark > 25:
            o = put_text(o - 2, b"\r\n")        # a list came in, and there is nothing to append to it
        else:
            o = mark
    if want & 1u << FIELD_TRACEPARENT:
        o = put_text(o, b"traceparent: 00-")
        o = put(o, info.trace_id, 32)
        o[0] = c'-'
        o = put(o + 1, info.span_id, 16)
        o = put_text(o, b"-01\r\n") if info.trace_sampled else put_text(o, b"-00\r\n")
    return o


# --- traces (https://www.w3.org/TR/trace-context/)

cdef bint valid_traceparent(const char* p, uint32_t n) noexcept nogil:
    if n < 55 or p[2] != c'-' or p[35] != c'-' or p[52] != c'-':
        return False
    if not fl_hex_digit(p[0]) or not fl_hex_digit(p[1]) or (p[0] == c'f' and p[1] == c'f'):
        return False
    if n > 55 and ((p[0] == c'0' and p[1] == c'0') or p[55] != c'-'):
        return False
    return fl_hex_id(p + 3, 32) and fl_hex_id(p + 36, 16) and fl_hex_digit(p[53]) and fl_hex_digit(p[54])


cdef void find_trace(Trace* trace, const RequestHead* h, const char* buf, const char* request_id,
                     const char* share) noexcept nogil:
    cdef const Field* f
    cdef char c
    if h.seen[<int>FIELD_TRACEPARENT] and not h.repeated >> FIELD_TRACEPARENT & 1:
        f = &h.fields[h.seen[<int>FIELD_TRACEPARENT] - 1]
        if valid_traceparent(buf + f.value, f.value_len):
            trace.at = f.value
            trace.length = f.value_len
            c = buf[f.value + 54]
            trace.sampled = (c & 1) ^ (c >= c'a')
            return
    trace.length = 0
    trace.sampled = share == NULL or memcmp(request_id + 16, share, 16) < 0


cdef void tell_trace(ForwardInfo* info, const Trace* trace, const char* buf, const char* request_id,
                     bint spans) noexcept nogil:
    if trace.length and not spans:
        info.trace_id = NULL
        return
    info.trace_id = buf + trace.at + 3 if trace.length else request_id
    info.span_id = request_id + 16
    info.trace_sampled = trace.sampled
    info.trace_begun = trace.length == 0


# --- request identifiers: a random base a process, and a mixed counter

cdef uint64_t id_counter
cdef uint64_t id_base


cdef inline uint64_t mix(uint64_t z) noexcept nogil:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014): a bijection, so a counter never repeats through it."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
    return z ^ (z >> 31)


cdef inline uint64_t spread(uint64_t value) noexcept nogil:
    """The low 32 bits as eight nibbles, one a byte, the highest first in memory."""
    value = (value & 0xFFFFULL) << 32 | (value & 0xFFFFFFFFULL) >> 16
    value = (value & 0x000000FF000000FFULL) << 16 | (value & 0x0000FF000000FF00ULL) >> 8
    return (value & 0x000F000F000F000FULL) << 8 | (value & 0x00F000F000F000F0ULL) >> 4


cdef inline void put_hex8(char* o, uint64_t value) noexcept nogil:
    cdef uint64_t nibbles = spread(value)
    cdef uint64_t letters = ((nibbles + 0x0606060606060606ULL) >> 4) & 0x0101010101010101ULL
    nibbles += 0x3030303030303030ULL + letters * 39        # 'a' - '9' - 1
    memcpy(o, &nibbles, 8)


cdef void make_request_id(char* out32) noexcept nogil:
    # Ids of one process differ in the second half, whatever the first is; two processes share neither base nor start.
    cdef uint64_t high, low
    global id_counter
    id_counter += 0x9E3779B97F4A7C15ULL
    if id_counter == 0:
        id_counter = 1                  # the second half is a span's id as well, which must not be 0
    high = mix(id_counter ^ id_base)
    low = mix(id_counter)
    put_hex8(out32, high >> 32)
    put_hex8(out32 + 8, high)
    put_hex8(out32 + 16, low >> 32)
    put_hex8(out32 + 24, low)


def request_id():
    """A new request identifier: 32 hex digits, unique over processes, not secret."""
    cdef char out[32]
    make_request_id(out)
    return out[:32].decode("ascii")


cdef int _seed() except -1:
    global id_counter, id_base
    cdef bytes seed = os.urandom(16)
    memcpy(&id_counter, <const char*>seed, 8)
    memcpy(&id_base, <const char*>seed + 8, 8)
    return 0


_seed()
