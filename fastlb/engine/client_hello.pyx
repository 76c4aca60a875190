"""The ClientHello that a TLS connection begins with, read without ending TLS.

Sources: RFC 8446 sections 4.1.2 and 5.1 (message and records), RFC 6066 section 3 (server name), RFC 7301 (protocols).
Nothing is decrypted and nothing is changed: what was read goes on to the server as it came. A message that breaks a
rule is one of which nothing is known, so it cannot be routed one way here and understood another way there.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

cdef enum:
    RECORD_HANDSHAKE = 22
    RECORD_MAX = 16384
    CLIENT_HELLO = 1
    EXTENSION_NAME = 0
    EXTENSION_ALPN = 16


cdef inline size_t read16(const char* p) noexcept nogil:
    return <size_t>(<uint8_t>p[0]) << 8 | <uint8_t>p[1]


cdef int hello_parse(const char* p, size_t n, char* message, Hello* h) noexcept nogil:
    cdef size_t at = 0
    cdef size_t have = 0
    cdef size_t size, take
    memset(h, 0, sizeof(h[0]))
    if n > HELLO_INPUT:
        n = HELLO_INPUT
    while True:
        if n > at and <uint8_t>p[at] != RECORD_HANDSHAKE:
            return HELLO_NONE
        if n > at + 1 and <uint8_t>p[at + 1] != 3:
            return HELLO_NONE
        if n < at + 5:
            return HELLO_MORE if n < HELLO_INPUT else HELLO_NONE
        size = read16(p + at + 3)
        if size == 0 or size > RECORD_MAX:
            return HELLO_NONE
        at += 5
        take = size if n - at >= size else n - at
        if take > HELLO_BYTES - have:
            take = HELLO_BYTES - have
        memcpy(message + have, p + at, take)
        have += take
        if have and <uint8_t>message[0] != CLIENT_HELLO:
            return HELLO_NONE
        if have >= 4:
            size = <size_t>(<uint8_t>message[1]) << 16 | read16(message + 2)
            if size > HELLO_BYTES - 4:
                return HELLO_NONE
            if have >= size + 4:
                return <int>(size + 4) if read_body(message, 4, size + 4, h) else HELLO_NONE
        at += read16(p + at - 2)
        if n < at:
            return HELLO_MORE if n < HELLO_INPUT else HELLO_NONE


cdef bint skip(const char* m, size_t* at, size_t end, int width, size_t least, size_t most) noexcept nogil:
    """Over a vector whose length is in `width` bytes."""
    cdef size_t size
    if end - at[0] < <size_t>width:
        return False
    size = <uint8_t>m[at[0]] if width == 1 else read16(m + at[0])
    at[0] += <size_t>width
    if size < least or size > most or size > end - at[0]:
        return False
    at[0] += size
    return True


cdef bint read_body(const char* m, size_t at, size_t end, Hello* h) noexcept nogil:
    cdef size_t kind, size
    cdef uint32_t seen = 0
    if end - at < 34:
        return False
    at += 34                    # version and random
    if not skip(m, &at, end, 1, 0, 32) or not skip(m, &at, end, 2, 2, 65534) or not skip(m, &at, end, 1, 1, 255):
        return False
    if at == end:
        return True             # no extensions: an old client
    if end - at < 2 or read16(m + at) != end - at - 2:
        return False
    at += 2
    while at < end:
        if end - at < 4 or read16(m + at + 2) > end - at - 4:
            return False
        kind = read16(m + at)
        size = read16(m + at + 2)
        at += 4
        if kind == EXTENSION_NAME or kind == EXTENSION_ALPN:
            # RFC 8446 section 4.2: not more than one of a kind
            if seen & (1 if kind == EXTENSION_NAME else 2):
                return False
            seen |= 1 if kind == EXTENSION_NAME else 2
            if kind == EXTENSION_NAME and not read_name(m, at, at + size, h):
                return False
            if kind == EXTENSION_ALPN and not read_protocols(m, at, at + size, h):
                return False
        at += size
    return True


cdef bint read_name(const char* m, size_t at, size_t end, Hello* h) noexcept nogil:
    """One name, of type host_name (no other was ever defined): letters, digits, '-', '_' and '.'."""
    cdef size_t size, i
    cdef uint8_t c
    if end - at < 5 or read16(m + at) != end - at - 2 or m[at + 2] != 0 or read16(m + at + 3) != end - at - 5:
        return False
    at += 5
    size = end - at
    if size == 0 or size > 255:
        return False
    for i in range(size):
        c = <uint8_t>m[at + i]
        if not (c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9' or c == c'-' or c == c'.' or c == c'_'):
            return False
    h.name, h.name_len = <uint32_t>at, <uint32_t>size
    return True


cdef bint read_protocols(const char* m, size_t at, size_t end, Hello* h) noexcept nogil:
    if end - at < 4 or read16(m + at) != end - at - 2:
        return False
    at += 2
    h.alpn, h.alpn_len = <uint32_t>at, <uint32_t>(end - at)
    while at < end:
        if m[at] == 0 or <size_t>(<uint8_t>m[at]) > end - at - 1:
            return False
        at += 1 + <size_t>(<uint8_t>m[at])
    return True


def parse(bytes data not None):
    """(server name, protocols) of the ClientHello that `data` begins with; None when it is not complete. ValueError
    when it is none."""
    cdef char message[HELLO_BYTES]
    cdef Hello h
    cdef int got = hello_parse(data, len(data), message, &h)
    cdef size_t at
    if got == HELLO_NONE:
        raise ValueError("no ClientHello")
    if got == HELLO_MORE:
        return None
    protocols = []
    at = h.alpn
    while at < h.alpn + h.alpn_len:
        protocols.append(message[at + 1:at + 1 + <uint8_t>message[at]])
        at += 1 + <size_t>(<uint8_t>message[at])
    return message[h.name:h.name + h.name_len].decode(), protocols
