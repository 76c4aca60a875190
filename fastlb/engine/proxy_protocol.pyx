"""The PROXY protocol: what the proxy before us says about its client, and what we say about ours.

Source: "The PROXY protocol", versions 1 and 2, W. Tarreau (haproxy's doc/proxy-protocol.txt). Where it leaves a choice
the strict reading is taken: canonical numbers, single spaces, TLVs that fill their room exactly, a checksum that is
right where there is one. Datagram families are refused: what is read here comes from stream sockets.
"""

import socket as sockets

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen
from fastlb._core.net cimport AF_INET, AF_INET6, AF_UNIX, ntohs, sockaddr_in, sockaddr_storage
from fastlb.engine.networks cimport fill_address
from fastlb.http.put cimport put_number, put_text

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* out)
    const char* inet_ntop(int family, const void* address, char* out, unsigned int n)
    uint16_t htons(uint16_t)

cdef enum:
    TLV_ALPN = 0x01
    TLV_AUTHORITY = 0x02
    TLV_CRC32C = 0x03
    TLV_UNIQUE_ID = 0x05
    TLV_SSL = 0x20
    TLV_SSL_VERSION = 0x21
    TEXT_MAX = 255              # of a text that is sent
    UNIQUE_ID_MAX = 128

cdef const char* SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

cdef uint32_t _crc_table[256]


cdef void _make_table() noexcept:
    cdef uint32_t i, c
    cdef int _k
    for i in range(256):
        c = i
        for _k in range(8):
            c = (c >> 1) ^ (0x82f63b78u if c & 1 else 0)
        _crc_table[i] = c


_make_table()


cdef uint32_t crc32c(uint32_t crc, const char* p, size_t n) noexcept nogil:
    """RFC 4960 appendix B. Continue with the last result; begin with 0."""
    cdef size_t i
    crc = ~crc
    for i in range(n):
        crc = _crc_table[(crc ^ <uint8_t>p[i]) & 0xff] ^ (crc >> 8)
    return ~crc


cdef inline uint16_t read16(const char* p) noexcept nogil:
    return <uint16_t>(<uint8_t>p[0] << 8 | <uint8_t>p[1])


cdef inline uint32_t read32(const char* p) noexcept nogil:
    return <uint32_t>read16(p) << 16 | read16(p + 2)


cdef inline char* write16(char* p, size_t v) noexcept nogil:
    p[0] = <char>(v >> 8 & 0xff)
    p[1] = <char>(v & 0xff)
    return p + 2


cdef inline int bad(ProxyHeader* h, const char* reason) noexcept nogil:
    h.reason = reason
    return PROXY_BAD


cdef int proxy_parse(const char* p, size_t n, ProxyHeader* h) noexcept nogil:
    memset(h, 0, sizeof(h[0]))
    if n == 0:
        return PROXY_MORE
    if p[0] == c'P':
        return parse_v1(p, n, h)
    if memcmp(p, SIGNATURE, n if n < 12 else 12):
        return bad(h, b"not a PROXY header")
    if n > 12 and (<uint8_t>p[12] & 0xf0 != 0x20 or <uint8_t>p[12] & 0x0f > 1):
        return bad(h, b"PROXY header of an unknown version or command")
    if n > 13 and not known_family(<uint8_t>p[13]):
        return bad(h, b"PROXY header of an unknown family")
    if n < 16:
        return PROXY_MORE
    return parse_v2(p, n, h)


# --- version 1

cdef int parse_v1(const char* p, size_t n, ProxyHeader* h) noexcept nogil:
    cdef const char* end
    cdef const char* at
    cdef int family
    h.version = 1
    if memcmp(p, b"PROXY ", n if n < 6 else 6):
        return bad(h, b"not a PROXY header")
    end = <const char*>memchr(p, c'\r', n if n < PROXY_V1_BYTES else PROXY_V1_BYTES)
    if memchr(p, c'\n', <size_t>(end - p) if end != NULL else n if n < PROXY_V1_BYTES else PROXY_V1_BYTES) != NULL:
        return bad(h, b"PROXY line without CRLF")
    if end == NULL:
        return bad(h, b"PROXY line too long") if n >= PROXY_V1_BYTES - 1 else PROXY_MORE
    if <size_t>(end - p) > PROXY_V1_BYTES - 2:
        return bad(h, b"PROXY line too long")
    if <size_t>(end - p) + 1 == n:
        return PROXY_MORE
    if end[1] != c'\n':
        return bad(h, b"PROXY line without CRLF")
    at = p + 6
    if end - at >= 7 and memcmp(at, b"UNKNOWN", 7) == 0 and (end - at == 7 or at[7] == c' '):
        return <int>(end - p) + 2
    if end - at < 5 or (memcmp(at, b"TCP4 ", 5) and memcmp(at, b"TCP6 ", 5)):
        return bad(h, b"PROXY line of an unknown family")
    family = AF_INET if at[3] == c'4' else AF_INET6
    at += 5
    if (not take_address(&at, end, family, &h.source) or not take_address(&at, end, family, &h.destination)
            or not take_port(&at, end, &h.source) or not take_port(&at, end, &h.destination) or at != end):
        return bad(h, b"PROXY line with a wrong address or port")
    h.known = True
    return <int>(end - p) + 2


cdef bint take_address(const char** at, const char* end, int family, sockaddr_in6* out) noexcept nogil:
    """One address and the space behind it."""
    cdef const char* space = <const char*>memchr(at[0], c' ', <size_t>(end - at[0]))
    cdef char text[48]
    cdef size_t n
    if space == NULL or space - at[0] >= 46:
        return False
    n = <size_t>(space - at[0])
    if memchr(at[0], 0, n) != NULL:
        return False
    memcpy(text, at[0], n)
    text[n] = 0
    at[0] = space + 1
    out.sin6_family = <unsigned short>family
    if family == AF_INET:
        return inet_pton(AF_INET, text, &(<sockaddr_in*>out).sin_addr) == 1
    return inet_pton(AF_INET6, text, &out.sin6_addr) == 1


cdef bint take_port(const char** at, const char* end, sockaddr_in6* out) noexcept nogil:
    """One port and the space behind it, if there is one."""
    cdef const char* p = at[0]
    cdef uint32_t value = 0
    while p < end and c'0' <= p[0] <= c'9' and p - at[0] < 6:
        value = value * 10 + <uint32_t>(p[0] - c'0')
        p += 1
    if p == at[0] or value > 65535 or (at[0][0] == c'0' and p - at[0] > 1):
        return False
    if p < end:
        if p[0] != c' ' or p + 1 == end:
            return False
        p += 1
    at[0] = p
    out.sin6_port = htons(<uint16_t>value)      # at the same place in both families
    return True


# --- version 2

cdef inline bint known_family(uint8_t f) noexcept nogil:
    return f == 0 or f == 0x11 or f == 0x21 or f == 0x31


cdef int parse_v2(const char* p, size_t n, ProxyHeader* h) noexcept nogil:
    cdef size_t size = 16 + <size_t>read16(p + 14)
    cdef uint8_t family = <uint8_t>p[13]
    cdef size_t addresses = 12 if family == 0x11 else 36 if family == 0x21 else 216 if family == 0x31 else 0
    h.version = 2
    if size > PROXY_BYTES:
        return bad(h, b"PROXY header too long")
    if size - 16 < addresses and <uint8_t>p[12] & 0x0f:
        return bad(h, b"PROXY header too short for its family")
    if n < size:
        return PROXY_MORE
    if not <uint8_t>p[12] & 0x0f:
        return <int>size        # LOCAL: "the receiver must ignore the address information and the TLVs"
    if family == 0x11:
        fill4(&h.source, p + 16, p + 24)
        fill4(&h.destination, p + 20, p + 26)
    elif family == 0x21:
        fill6(&h.source, p + 16, p + 48)
        fill6(&h.destination, p + 32, p + 50)
    elif family == 0x31:
        h.source.sin6_family = AF_UNIX
        h.destination.sin6_family = AF_UNIX
    h.known = family != 0
    return <int>size if parse_tlvs(p, 16 + addresses, size, h) else PROXY_BAD


cdef inline void fill4(sockaddr_in6* out, const char* address, const char* port) noexcept nogil:
    out.sin6_family = AF_INET
    memcpy(&(<sockaddr_in*>out).sin_addr, address, 4)
    memcpy(&out.sin6_port, port, 2)


cdef inline void fill6(sockaddr_in6* out, const char* address, const char* port) noexcept nogil:
    out.sin6_family = AF_INET6
    memcpy(&out.sin6_addr, address, 16)
    memcpy(&out.sin6_port, port, 2)


cdef bint parse_tlvs(const char* p, size_t at, size_t size, ProxyHeader* h) noexcept nogil:
    cdef size_t n
    cdef uint8_t kind
    while at < size:
        if size - at < 3 or size - at - 3 < read16(p + at + 1):
            h.reason = b"PROXY header with a broken TLV"
            return False
        kind = <uint8_t>p[at]
        n = read16(p + at + 1)
        at += 3
        if kind == TLV_CRC32C:
            if n != 4 or not right_sum(p, size, at):
                h.reason = b"PROXY header with a wrong checksum"
                return False
        elif kind == TLV_UNIQUE_ID:
            if n > UNIQUE_ID_MAX:
                h.reason = b"PROXY header with a unique id too long"
                return False
            h.unique_id, h.unique_id_len = <uint32_t>at, <uint32_t>n
        elif kind == TLV_AUTHORITY:
            h.authority, h.authority_len = <uint32_t>at, <uint32_t>n
        elif kind == TLV_ALPN:
            h.alpn, h.alpn_len = <uint32_t>at, <uint32_t>n
        elif kind == TLV_SSL and not sound_ssl(p + at, n):
            h.reason = b"PROXY header with a broken TLV"
            return False
        at += n
    return True


cdef bint right_sum(const char* p, size_t size, size_t at) noexcept nogil:
    """The checksum is over the header with zeros in its own place."""
    cdef uint32_t crc = crc32c(0, p, at)
    crc = crc32c(crc, b"\0\0\0\0", 4)
    return crc32c(crc, p + at + 4, size - at - 4) == read32(p + at)


cdef bint sound_ssl(const char* p, size_t n) noexcept nogil:
    """One byte, four bytes, and TLVs."""
    cdef size_t at = 5
    if n < 5:
        return False
    while at < n:
        if n - at < 3 or n - at - 3 < read16(p + at + 1):
            return False
        at += 3 + <size_t>read16(p + at + 1)
    return True


# --- writing

cdef size_t proxy_write(char* out, int version, const sockaddr* source, const sockaddr* destination,
                        const ProxyFacts* facts) noexcept nogil:
    cdef bint known = (source != NULL and destination != NULL and source.sa_family == destination.sa_family
                       and (source.sa_family == AF_INET or source.sa_family == AF_INET6))
    if version == 1:
        return write_v1(out, source, destination, known)
    return write_v2(out, source, destination, known, facts)


cdef char* put_address(char* o, const sockaddr* a) noexcept nogil:
    if a.sa_family == AF_INET:
        inet_ntop(AF_INET, &(<const sockaddr_in*>a).sin_addr, o, 46)
    else:
        inet_ntop(AF_INET6, &(<const sockaddr_in6*>a).sin6_addr, o, 46)
    o += strlen(o)
    o[0] = c' '
    return o + 1


cdef size_t write_v1(char* out, const sockaddr* source, const sockaddr* destination, bint known) noexcept nogil:
    cdef char* o
    if not known:
        return <size_t>(put_text(out, b"PROXY UNKNOWN\r\n") - out)
    o = put_text(out, b"PROXY TCP4 " if source.sa_family == AF_INET else b"PROXY TCP6 ")
    o = put_address(o, source)
    o = put_address(o, destination)
    o = put_number(o, ntohs((<const sockaddr_in*>source).sin_port))
    o[0] = c' '
    o = put_number(o + 1, ntohs((<const sockaddr_in*>destination).sin_port))
    return <size_t>(put_text(o, b"\r\n") - out)


cdef char* put_tlv(char* o, uint8_t kind, const char* p, size_t n) noexcept nogil:
    o[0] = <char>kind
    o = write16(o + 1, n)
    memcpy(o, p, n)
    return o + n


cdef size_t write_v2(char* out, const sockaddr* source, const sockaddr* destination, bint known,
                     const ProxyFacts* facts) noexcept nogil:
    cdef char* o
    cdef char* inside
    cdef uint32_t crc
    memcpy(out, SIGNATURE, 12)
    out[12] = 0x21
    out[13] = 0
    o = out + 16
    if known and source.sa_family == AF_INET:
        out[13] = 0x11
        memcpy(o, &(<const sockaddr_in*>source).sin_addr, 4)
        memcpy(o + 4, &(<const sockaddr_in*>destination).sin_addr, 4)
        memcpy(o + 8, &(<const sockaddr_in*>source).sin_port, 2)
        memcpy(o + 10, &(<const sockaddr_in*>destination).sin_port, 2)
        o += 12
    elif known:
        out[13] = 0x21
        memcpy(o, &(<const sockaddr_in6*>source).sin6_addr, 16)
        memcpy(o + 16, &(<const sockaddr_in6*>destination).sin6_addr, 16)
        memcpy(o + 32, &(<const sockaddr_in6*>source).sin6_port, 2)
        memcpy(o + 34, &(<const sockaddr_in6*>destination).sin6_port, 2)
        o += 36
    if facts.wanted & PROXY_ALPN and 0 < facts.alpn_len <= TEXT_MAX:
        o = put_tlv(o, TLV_ALPN, facts.alpn, facts.alpn_len)
    if facts.wanted & PROXY_AUTHORITY and 0 < facts.authority_len <= TEXT_MAX:
        o = put_tlv(o, TLV_AUTHORITY, facts.authority, facts.authority_len)
    if facts.wanted & PROXY_UNIQUE_ID and 0 < facts.unique_id_len <= UNIQUE_ID_MAX:
        o = put_tlv(o, TLV_UNIQUE_ID, facts.unique_id, facts.unique_id_len)
    if facts.wanted & PROXY_SSL and facts.ssl:
        # No certificate of the client's: its bits are 0, and `verify` says that none was verified.
        inside = o + 3
        inside[0] = 0x01
        memcpy(inside + 1, b"\0\0\0\1", 4)
        inside += 5
        if facts.ssl_version != NULL:
            inside = put_tlv(inside, TLV_SSL_VERSION, facts.ssl_version, strlen(facts.ssl_version))
        o[0] = TLV_SSL
        write16(o + 1, <size_t>(inside - o) - 3)
        o = inside
    if facts.wanted & PROXY_CRC32C:
        o = put_tlv(o, TLV_CRC32C, b"\0\0\0\0", 4)
    write16(out + 14, <size_t>(o - out) - 16)
    if facts.wanted & PROXY_CRC32C:
        crc = crc32c(0, out, <size_t>(o - out))
        write16(write16(o - 4, crc >> 16), crc & 0xffff)
    return <size_t>(o - out)


# --- for tests and tools

cdef object _endpoint(const sockaddr_in6* a):
    if a.sin6_family == AF_INET:
        return (sockets.inet_ntop(sockets.AF_INET, (<const char*>&(<const sockaddr_in*>a).sin_addr)[:4]),
                ntohs(a.sin6_port))
    if a.sin6_family == AF_INET6:
        return sockets.inet_ntop(sockets.AF_INET6, (<const char*>&a.sin6_addr)[:16]), ntohs(a.sin6_port)
    return "unix", 0


def parse(bytes data not None):
    """The header that `data` begins with, None when it is not complete. ValueError when it is none."""
    cdef ProxyHeader h
    cdef int got = proxy_parse(data, len(data), &h)
    if got == PROXY_MORE:
        return None
    if got < 0:
        raise ValueError((<bytes>h.reason).decode())
    return {
        "version": h.version,
        "length": got,
        "source": _endpoint(&h.source) if h.known else None,
        "destination": _endpoint(&h.destination) if h.known else None,
        "unique_id": data[h.unique_id:h.unique_id + h.unique_id_len],
        "authority": data[h.authority:h.authority + h.authority_len],
        "alpn": data[h.alpn:h.alpn + h.alpn_len],
    }


def compose(int version, source=None, destination=None, *, bytes unique_id=b"", bytes authority=b"", bytes alpn=b"",
            ssl=None, bint crc32c=False):
    """A header as it is sent to servers. `ssl` is the TLS version that the client speaks, '' = not known."""
    cdef char out[PROXY_OUT]
    cdef sockaddr_storage ends[2]
    cdef ProxyFacts facts
    cdef bytes name = (ssl or "").encode()
    cdef int i
    memset(ends, 0, sizeof(ends))
    for i, end in enumerate((source, destination)):
        if end is not None:
            fill_address(&ends[i], end[0])
            (<sockaddr_in*>&ends[i]).sin_port = htons(end[1])
    memset(&facts, 0, sizeof(facts))
    facts.wanted = 15 | (PROXY_CRC32C if crc32c else 0)
    facts.unique_id, facts.unique_id_len = unique_id, <uint32_t>len(unique_id)
    facts.authority, facts.authority_len = authority, <uint32_t>len(authority)
    facts.alpn, facts.alpn_len = alpn, <uint32_t>len(alpn)
    facts.ssl = ssl is not None
    facts.ssl_version = <const char*>name if name else NULL
    return out[:proxy_write(out, version, <const sockaddr*>&ends[0], <const sockaddr*>&ends[1], &facts)]
