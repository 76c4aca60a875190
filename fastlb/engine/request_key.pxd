# Finds a key in a request: what a hash algorithm hashes, or a rate limit counts by.
from libc.stdint cimport uint32_t, uint64_t
from fastlb._core.net cimport sockaddr
from fastlb._core.span cimport Span
from fastlb.http.fields cimport Field
from fastlb.http.request_head cimport RequestHead

cdef enum:
    KEY_NONE = 0
    KEY_IP
    KEY_PATH
    KEY_URI
    KEY_HEADER
    KEY_COOKIE
    KEY_QUERY
    KEY_HOST

# The bytes of the key (`name` in lower case for headers), or NULL when the request has none. O(head).
cdef const char* find_key(int kind, const char* name, size_t name_len, const RequestHead* h, const char* base,
                          const sockaddr* client, size_t* n) noexcept
# The bits of an address that count, a v4-mapped IPv6 address as IPv4, to out[0:16]; returns the number of octets.
cdef size_t mask_address(unsigned char* out, const unsigned char* p, size_t n, int prefix4, int prefix6) noexcept
# Value of `name=value` in a query string or a Cookie field (RFC 6265 section 4.2.1); NULL when absent. O(n).
cdef const char* find_pair(const char* p, size_t n, char separator, const char* name, size_t name_len,
                           size_t* found_len) noexcept
# How many cookies of this name there are, over all Cookie fields. O(head).
cdef uint32_t count_cookies(const RequestHead* h, const char* base, const char* name, size_t name_len) noexcept
# Value of the first field of a known name (FieldId); length 0 when there is none.
cdef inline Span first_field(const RequestHead* h, int field_id) noexcept:
    cdef Span s
    cdef const Field* f
    s.off = 0
    s.len = 0
    if h.seen[field_id]:
        f = &h.fields[h.seen[field_id] - 1]
        s.off = f.value
        s.len = f.value_len
    return s
