# The one reading of a request path that rules are matched against (RFC 3986 section 6.2.2), however it was written.
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "path_scan.h" nogil:
    bint fl_path_special(const char* p, size_t n)

# True when the path is its own plain form, which is nearly always: then nothing needs to be copied. O(n).
cdef inline bint path_is_plain(const char* path, uint32_t n) noexcept nogil:
    return n != 0 and path[0] == b'/' and not fl_path_special(path, n)

# Writes the plain form to out (n + 1 bytes are enough) and returns its length: every percent-escape decoded, %2F as
# well, dot segments resolved, runs of slashes merged; '' becomes '/'. `dots` says whether a dot segment was resolved.
# -1: the path must be refused (400), because servers differ about what it names (see path.pyx).
cdef ssize_t plain_path(const char* path, uint32_t n, char* out, bint* dots) noexcept nogil

# Writes a plain path as a valid one, escaping what may not stand in a path (out: 3 * n bytes). Returns the length.
cdef size_t escape_path(const char* plain, size_t n, char* out) noexcept nogil

# The value of a hex digit or -1.
cdef inline int hex_value(unsigned char c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    return -1
