"""Socket addresses: which network they are in, and how they read as text."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy, memset
from fastlb._core.net cimport AF_INET, AF_INET6, sockaddr_in, sockaddr_in6

import array
import ipaddress
import socket

cdef extern from *:
    """
    #include <arpa/inet.h>
    #define FL_HOST32(v) ntohl(v)
    #define FL_HOST64(v) (((uint64_t)ntohl((uint32_t)(v)) << 32) | ntohl((uint32_t)((uint64_t)(v) >> 32)))
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #undef FL_HOST64
    #define FL_HOST64(v) (v)
    #endif
    """
    uint32_t FL_HOST32(uint32_t) nogil
    uint64_t FL_HOST64(uint64_t) nogil


cdef inline bint is_mapped(const uint8_t* a) noexcept nogil:
    """::ffff:0:0/96, an IPv4 client of a socket that serves both families (RFC 4291 section 2.5.5.2)."""
    cdef uint64_t high
    cdef uint32_t middle
    memcpy(&high, a, 8)
    memcpy(&middle, a + 8, 4)
    return high == 0 and FL_HOST32(middle) == 0xFFFF


@cython.final
cdef class Networks:
    """A set of networks: 'a.b.c.d/n', 'x::y/n', single addresses, 'unix' for Unix sockets. ValueError for others.

    IPv6 networks do not hold IPv4 clients, not even '::/0': list both families. A network written in v4-mapped form
    is the IPv4 network it maps. `address in networks` asks for one textual address.
    """

    def __cinit__(self, networks=()):
        v4 = []
        v6 = []
        for text in networks:
            if text in ("unix", "unix:"):
                self.local = True
                continue
            network = ipaddress.ip_network(text, strict=False)
            if network.version == 6:
                mapped = network.network_address.ipv4_mapped
                if mapped is not None and network.prefixlen >= 96:
                    network = ipaddress.ip_network((mapped, network.prefixlen - 96))
            (v4 if network.version == 4 else v6).append(network)
        v4 = merge_ranges(v4)
        v6 = merge_ranges(v6)
        mask = (1 << 64) - 1
        words = array.array("Q")
        for first, last in v6:
            words.extend((first >> 64, first & mask, last >> 64, last & mask))
        self._keep = (array.array("I", [first for first, _ in v4]).tobytes(),
                      array.array("I", [last for _, last in v4]).tobytes(), words.tobytes())
        self._texts = tuple(networks)
        self.first4 = <const uint32_t*><const char*>self._keep[0]
        self.last4 = <const uint32_t*><const char*>self._keep[1]
        self.range6 = <const Range6*><const char*>self._keep[2]
        self.count4 = <uint32_t>len(v4)
        self.count6 = <uint32_t>len(v6)

    cdef bint contains(self, const sockaddr* sa) noexcept nogil:
        cdef:
            uint32_t low = 0, high, middle
            uint32_t a4
            uint64_t a_high, a_low
            const uint8_t* a
            const Range6* r
        if sa != NULL and sa.sa_family == AF_INET:
            a4 = FL_HOST32((<const sockaddr_in*>sa).sin_addr.s_addr)
        elif sa != NULL and sa.sa_family == AF_INET6:
            a = <const uint8_t*>&(<const sockaddr_in6*>sa).sin6_addr
            if not is_mapped(a):
                memcpy(&a_high, a, 8)
                memcpy(&a_low, a + 8, 8)
                a_high = FL_HOST64(a_high)
                a_low = FL_HOST64(a_low)
                high = self.count6
                while low < high:
                    middle = (low + high) >> 1
                    r = &self.range6[middle]
                    if r.first_high < a_high or (r.first_high == a_high and r.first_low <= a_low):
                        low = middle + 1
                    else:
                        high = middle
                if low == 0:
                    return False
                r = &self.range6[low - 1]
                return a_high < r.last_high or (a_high == r.last_high and a_low <= r.last_low)
            memcpy(&a4, a + 12, 4)
            a4 = FL_HOST32(a4)
        else:
            return self.local
        high = self.count4
        while low < high:
            middle = (low + high) >> 1
            if self.first4[middle] <= a4:
                low = middle + 1
            else:
                high = middle
        return low != 0 and a4 <= self.last4[low - 1]

    def __contains__(self, str address):
        cdef sockaddr_storage storage
        fill_address(&storage, address)
        return bool(self.contains(<const sockaddr*>&storage))

    def __len__(self):
        return self.count4 + self.count6 + (1 if self.local else 0)

    def __repr__(self):
        return f"Networks({self._texts!r})"


def merge_ranges(networks):
    """The networks as (first, last) numbers, ascending, overlapping and adjacent ones joined."""
    merged = []
    start = end = None
    for network in sorted(networks):
        first, last = int(network.network_address), int(network.broadcast_address)
        if end is not None and first <= end + 1:
            end = max(end, last)
            continue
        if end is not None:
            merged.append((start, end))
        start, end = first, last
    if end is not None:
        merged.append((start, end))
    return merged


cdef int fill_address(sockaddr_storage* storage, str text) except -1:
    """A socket address for textual `text`; 'unix' for one that has none."""
    cdef bytes packed
    memset(storage, 0, sizeof(sockaddr_storage))
    if text == "unix":
        storage.ss_family = 0
    elif ":" in text:
        packed = socket.inet_pton(socket.AF_INET6, text)
        storage.ss_family = AF_INET6
        memcpy(&(<sockaddr_in6*>storage).sin6_addr, <const char*>packed, 16)
    else:
        packed = socket.inet_pton(socket.AF_INET, text)
        storage.ss_family = AF_INET
        memcpy(&(<sockaddr_in*>storage).sin_addr, <const char*>packed, 4)
    return 0


# --- text

cdef inline char* put_byte(char* o, uint8_t value) noexcept nogil:
    if value >= 100:
        o[0] = <char>(c'0' + value // 100)
        o += 1
    if value >= 10:
        o[0] = <char>(c'0' + value // 10 % 10)
        o += 1
    o[0] = <char>(c'0' + value % 10)
    return o + 1


cdef uint32_t format4(const uint8_t* a, char* out) noexcept nogil:
    cdef char* o = put_byte(out, a[0])
    cdef int i
    for i in range(1, 4):
        o[0] = c'.'
        o = put_byte(o + 1, a[i])
    return <uint32_t>(o - out)


cdef uint32_t format6(const uint8_t* a, char* out) noexcept nogil:
    """RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as '::'."""
    cdef:
        uint16_t group[8]
        int i, run, best = -1, best_run = 1, shift
        char* o = out
        const char* digits = b"0123456789abcdef"
        bint started
    for i in range(8):
        group[i] = <uint16_t>(a[2 * i] << 8 | a[2 * i + 1])
    i = 0
    while i < 8:
        run = 0
        while i + run < 8 and group[i + run] == 0:
            run += 1
        if run > best_run:
            best = i
            best_run = run
        i += run + 1
    i = 0
    while i < 8:
        if i == best:
            o[0] = c':'
            o[1] = c':'
            o += 2
            i += best_run
            continue
        if i != 0 and i != best + best_run or (best < 0 and i != 0):
            o[0] = c':'
            o += 1
        started = False
        shift = 12
        while shift >= 0:
            if started or shift == 0 or (group[i] >> shift) & 15:
                started = True
                o[0] = digits[(group[i] >> shift) & 15]
                o += 1
            shift -= 4
        i += 1
    return <uint32_t>(o - out)


cdef uint32_t format_address(const sockaddr* sa, char* out) noexcept nogil:
    cdef const uint8_t* a
    if sa == NULL:
        return 0
    if sa.sa_family == AF_INET:
        return format4(<const uint8_t*>&(<const sockaddr_in*>sa).sin_addr, out)
    if sa.sa_family == AF_INET6:
        a = <const uint8_t*>&(<const sockaddr_in6*>sa).sin6_addr
        return format4(a + 12, out) if is_mapped(a) else format6(a, out)
    return 0


def address_text(str address):
    """The text by which logs and forwarded fields name a textual address: canonical, v4-mapped as IPv4."""
    cdef sockaddr_storage storage
    cdef char out[ADDRESS_TEXT]
    cdef uint32_t n
    fill_address(&storage, address)
    n = format_address(<const sockaddr*>&storage, out)
    return out[:n].decode("ascii")
