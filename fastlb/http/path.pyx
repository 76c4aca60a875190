"""The plain form of a request path.

A rule on `/admin` is worth nothing when `/%61dmin`, `//admin` or `/x/../admin` reaches the same page, so rules are
matched against the decoded path with dot segments resolved (RFC 3986 sections 5.2.4 and 6.2.2) while the raw path is
what the server gets.  `%2F` counts as a slash, because most applications see the decoded path.  Where two readings of a
path name different things, no choice is safe: the server behind may make the other.  Those paths are refused:

- `%00` (a C string ends there for some servers);
- `..` in a path that also holds an encoded slash, and `.` next to one: a decoder and a non-decoder walk differently;
- `..` after an empty segment (`/a//../b` is `/a/b` by the RFC and `/b` where slashes are merged first);
- dot segments with parameters or a backslash (`/..;x/`, `/..\\x`), which some servers strip.

No client writes these on purpose: browsers and libraries resolve dot segments before they send.
"""

cdef unsigned char PATH_SAFE[256]


cdef void _fill() noexcept:
    cdef bytes safe = (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # unreserved
                       b"!$&'()*+,;=:@/")                                                     # RFC 3986 section 3.3
    cdef int i
    for i in range(256):
        PATH_SAFE[i] = 0
    for i in safe:
        PATH_SAFE[i] = 1


_fill()


cdef ssize_t plain_path(const char* path, uint32_t n, char* out, bint* dots) noexcept nogil:
    cdef:
        uint32_t i = 0
        size_t o = 1, segment = 1, size, k
        unsigned char c
        int high, low
        bint encoded, end
        bint before = False         # the separator in front of the segment was encoded
        bint any_encoded = False    # an encoded slash somewhere so far
        bint any_empty = False      # an empty segment somewhere so far
        bint climbed = False
        bint backslash = False
    dots[0] = False
    out[0] = c'/'
    if n != 0:
        if path[0] != c'/':
            return -1
        i = 1
    while True:
        end = i >= n
        encoded = False
        c = c'/'
        if not end:
            c = <unsigned char>path[i]
            i += 1
            if c == c'%' and n - i >= 2:
                high = hex_value(<unsigned char>path[i])
                low = hex_value(<unsigned char>path[i + 1])
                if high >= 0 and low >= 0:
                    c = <unsigned char>(high << 4 | low)
                    i += 2
                    encoded = True
            if c != c'/':
                if c == 0:
                    return -1
                if c == c'\\':
                    backslash = True
                out[o] = <char>c
                o += 1
                continue
            if encoded:
                any_encoded = True
        # out[segment:o] is a whole segment
        size = o - segment
        if size == 0:
            if end:
                break
            any_empty = True
            before = before or encoded
            continue
        if out[segment] == c'.' and (size == 1 or out[segment + 1] in b'.;\\'):
            if size == 1:
                if before or encoded:
                    return -1
                dots[0] = True
                o = segment
            elif out[segment + 1] != c'.':
                return -1
            elif size == 2:
                if any_encoded or any_empty:
                    return -1
                dots[0] = True
                climbed = True
                o = segment
                if o > 1:
                    o -= 1
                    while out[o - 1] != c'/':
                        o -= 1
            elif out[segment + 2] in b';\\':
                return -1
        if backslash:
            for k in range(segment, o):
                if out[k] == c'\\' and k + 2 < o and out[k + 1] == c'.' and out[k + 2] == c'.':
                    return -1
        if end:
            break
        before = encoded
        if out[o - 1] != c'/':
            out[o] = c'/'
            o += 1
        segment = o
    if climbed and any_encoded:
        return -1
    return <ssize_t>o


cdef size_t escape_path(const char* plain, size_t n, char* out) noexcept nogil:
    cdef:
        size_t i, o = 0
        unsigned char c
        const char* digits = b"0123456789ABCDEF"
    for i in range(n):
        c = <unsigned char>plain[i]
        if PATH_SAFE[c]:
            out[o] = <char>c
            o += 1
        else:
            out[o] = c'%'
            out[o + 1] = digits[c >> 4]
            out[o + 2] = digits[c & 15]
            o += 3
    return o


def plain(bytes path):
    """The form of `path` that rules are matched against, or None when such a path is refused. Linear in its length."""
    cdef bint dots = False
    cdef bytearray out = bytearray(len(path) + 1)
    cdef ssize_t n
    if path_is_plain(path, <uint32_t>len(path)):
        return path
    n = plain_path(path, <uint32_t>len(path), out, &dots)
    return None if n < 0 else bytes(out[:n])
