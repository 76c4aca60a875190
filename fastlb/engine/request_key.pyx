"""Finds a key in a request: the client's address, the path, a header, a cookie, a query parameter."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp
from fastlb._core.net cimport AF_INET, AF_INET6, sockaddr_in, sockaddr_in6, sockaddr_storage
from fastlb.engine.networks cimport fill_address
from fastlb.http.fields cimport FIELD_COOKIE, MAX_FIELDS, Field, HeadLimits
from fastlb.http.request_head cimport parse_request_head, request_head_reset


cdef bint same_name(const char* p, const char* lower, size_t n) noexcept:
    """Compares a field name with one in lower case."""
    cdef size_t i
    cdef char c
    for i in range(n):
        c = p[i]
        if c'A' <= c <= c'Z':
            c = c | 32
        if c != lower[i]:
            return False
    return True


cdef const char* find_pair(const char* p, size_t n, char separator, const char* name, size_t name_len,
                           size_t* found_len) noexcept:
    """Value of `name=value` in a query string or a Cookie field (RFC 6265 section 4.2.1); NULL when absent. O(n)."""
    cdef size_t i = 0
    cdef size_t start, eq
    while i < n:
        while i < n and (p[i] == c' ' or p[i] == separator):
            i += 1
        start = i
        while i < n and p[i] != separator and p[i] != c'=':
            i += 1
        eq = i
        while i < n and p[i] != separator:
            i += 1
        if eq - start == name_len and eq < n and p[eq] == c'=' and memcmp(p + start, name, name_len) == 0:
            found_len[0] = i - eq - 1
            return p + eq + 1
    return NULL


cdef const char* find_key(int kind, const char* name, size_t name_len, const RequestHead* h, const char* base,
                          const sockaddr* client, size_t* n) noexcept:
    cdef const Field* f
    cdef const char* p
    cdef uint32_t i
    n[0] = 0
    if kind == KEY_IP:
        if client != NULL and client.sa_family == AF_INET:
            n[0] = 4
            return <const char*>&(<const sockaddr_in*>client).sin_addr
        if client != NULL and client.sa_family == AF_INET6:
            n[0] = 16
            return <const char*>&(<const sockaddr_in6*>client).sin6_addr
        return NULL
    if kind == KEY_PATH:
        n[0] = h.path.len
        return base + h.path.off
    if kind == KEY_URI:
        n[0] = h.path.len + (1 + h.query.len if h.query.len else 0)
        return base + h.path.off
    if kind == KEY_HOST:
        n[0] = h.host.len
        return base + h.host.off if h.host.len else NULL
    if kind == KEY_QUERY:
        return find_pair(base + h.query.off, h.query.len, c'&', name, name_len, n)
    for i in range(h.nfields):
        f = &h.fields[i]
        if kind == KEY_COOKIE:
            if f.id != FIELD_COOKIE:
                continue
            p = find_pair(base + f.value, f.value_len, c';', name, name_len, n)
            if p != NULL:
                return p
        elif f.name_len == name_len and same_name(base + f.name, name, name_len):
            n[0] = f.value_len
            return base + f.value
    return NULL


cdef uint32_t count_cookies(const RequestHead* h, const char* base, const char* name, size_t name_len) noexcept:
    cdef const Field* f
    cdef const char* p
    cdef const char* end
    cdef uint32_t i, count = 0
    cdef size_t n = 0
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.id != FIELD_COOKIE:
            continue
        p = base + f.value
        end = p + f.value_len
        while True:
            p = find_pair(p, <size_t>(end - p), c';', name, name_len, &n)
            if p == NULL:
                break
            count += 1
            p += n
    return count


cdef size_t mask_address(unsigned char* out, const unsigned char* p, size_t n, int prefix4, int prefix6) noexcept:
    """The bits of an address that count, a v4-mapped IPv6 address as IPv4."""
    cdef int bits = prefix6
    cdef size_t i
    cdef bint mapped = n == 16
    if mapped:
        for i in range(12):
            if p[i] != (0xff if i >= 10 else 0):
                mapped = False
                break
        if mapped:
            p += 12
            n = 4
    if n == 4:
        bits = prefix4
    for i in range(n):
        if bits >= 8:
            out[i] = p[i]
        elif bits > 0:
            out[i] = p[i] & <unsigned char>(0xff << (8 - bits))
        else:
            out[i] = 0
        bits -= 8
    return n


def key_of_head(int kind, bytes name not None, bytes head not None, str client="unix"):
    """(key, whether it is a packed address) of a whole request head, or None. For tools; ValueError for no head."""
    cdef RequestHead h
    cdef HeadLimits limits
    cdef sockaddr_storage storage
    cdef const char* found
    cdef size_t n = 0
    if kind == KEY_NONE:
        return None
    limits.bytes, limits.count, limits.uri = 1 << 20, MAX_FIELDS, 1 << 20
    request_head_reset(&h)
    if parse_request_head(&h, head, <uint32_t>len(head), &limits) <= 0:
        raise ValueError("not a request head")
    fill_address(&storage, client)
    found = find_key(kind, name, len(name), &h, head, <const sockaddr*>&storage, &n)
    return None if found == NULL else (found[:n], kind == KEY_IP)
