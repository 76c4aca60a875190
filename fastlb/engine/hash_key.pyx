"""Finds what a hash algorithm hashes: the client's address, the path, a header, a cookie, a query parameter."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp
from fastlb._core.net cimport AF_INET, AF_INET6, sockaddr_in, sockaddr_in6
from fastlb.engine.upstream cimport KEY_COOKIE, KEY_IP, KEY_PATH, KEY_QUERY, KEY_URI
from fastlb.http.fields cimport FIELD_COOKIE, Field


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


cdef bint find_hash_key(Backend b, const RequestHead* h, const char* base, const sockaddr* client,
                        uint64_t* key) noexcept:
    cdef const Field* f
    cdef const char* p = NULL
    cdef size_t n = 0
    cdef uint32_t i
    cdef const char* name = b.key_name
    cdef size_t name_len = len(b.key_name)
    if b.key_kind == KEY_IP:
        if client != NULL and client.sa_family == AF_INET:
            p = <const char*>&(<const sockaddr_in*>client).sin_addr
            n = 4
        elif client != NULL and client.sa_family == AF_INET6:
            p = <const char*>&(<const sockaddr_in6*>client).sin6_addr
            n = 16
    elif b.key_kind == KEY_PATH:
        p = base + h.path.off
        n = h.path.len
    elif b.key_kind == KEY_URI:
        p = base + h.path.off
        n = h.path.len + (1 + h.query.len if h.query.len else 0)
    elif b.key_kind == KEY_QUERY:
        p = find_pair(base + h.query.off, h.query.len, c'&', name, name_len, &n)
    else:
        for i in range(h.nfields):
            f = &h.fields[i]
            if b.key_kind == KEY_COOKIE:
                if f.id != FIELD_COOKIE:
                    continue
                p = find_pair(base + f.value, f.value_len, c';', name, name_len, &n)
                if p != NULL:
                    break
            elif f.name_len == name_len and same_name(base + f.name, name, name_len):
                p = base + f.value
                n = f.value_len
                break
    if p == NULL:
        return False
    key[0] = b.selector.algorithm.key_of(p, n)      # ip_hash has a hash of its own
    return True
