"""The last message of a frontend or backend that broke the protocol, with the bytes around the fault.

One object a frontend (requests) and backend (responses); it outlives reloads. Nothing is allocated before the first
fault, and good messages never come here.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from fastlb.http.fields cimport PARSE_ERROR
from fastlb.http.request_head cimport RequestHead, parse_request_head, request_head_reset
from fastlb.http.response_head cimport ResponseHead, parse_response_head, response_head_reset

cdef enum:
    LEAD = 768                  # of CAPTURE_BYTES: what led to the fault says more than what came behind it


cdef class Captured:
    """What was refused last. `report()` for readers."""

    def __dealloc__(self):
        free(self.last)

    cdef bint wanted(self, uint64_t now_ms) noexcept:
        self.count += 1
        if now_ms < self.next_ms:
            return False
        self.next_ms = now_ms + CAPTURE_GAP_MS
        if self.last == NULL:
            self.last = <Capture*>calloc(1, sizeof(Capture))
        return self.last != NULL

    cdef void keep(self, const char* p, size_t n, size_t at, int64_t before, bint body, const char* reason,
                   int64_t at_us) noexcept:
        cdef Capture* c = self.last
        cdef size_t start = at - LEAD if at > LEAD else 0
        if start + CAPTURE_BYTES > n:
            start = n - CAPTURE_BYTES if n > CAPTURE_BYTES else 0
        c.kept = <uint32_t>(n - start if n - start < CAPTURE_BYTES else CAPTURE_BYTES)
        memcpy(c.bytes, p + start, c.kept)
        c.position = <uint32_t>(at - start)
        c.offset = before + <int64_t>start if before >= 0 else -1
        c.length = n
        c.body = body
        c.reason = reason
        c.at_us = at_us

    cdef void about(self, bytes frontend, bytes server, const char* client, uint32_t client_len, uint16_t client_port,
                    int status) noexcept:
        cdef Capture* c = self.last
        self.frontend = frontend
        self.server = server
        c.client_len = client_len if client_len < sizeof(c.client) else 0
        memcpy(c.client, client, c.client_len)
        c.client_port = client_port
        c.status = <uint16_t>status

    def report(self):
        """What was captured as a dict of plain values, or None.

        at: seconds since the epoch. position: index into `bytes` of the faulty byte (its length when something is
        missing there). offset: bytes of the message before `bytes`, None = not known. length: bytes that were at hand.
        count: faults so far, captured or not.
        """
        cdef Capture* c = self.last
        if c == NULL:
            return None
        return {
            "at": c.at_us / 1e6,
            "frontend": None if self.frontend is None else self.frontend.decode(),
            "server": None if self.server is None else self.server.decode(),
            "client": c.client[:c.client_len].decode("ascii", "replace"),
            "client_port": c.client_port,
            "status": c.status,
            "part": "body" if c.body else "head",
            "reason": c.reason.decode(),
            "position": c.position,
            "offset": None if c.offset < 0 else c.offset,
            "length": c.length,
            "bytes": c.bytes[:c.kept],
            "count": self.count,
        }


# The parsers give the same verdict on a message however it is cut up, so of the parts of a refused head that begin at
# its first byte the refused ones are all longer than the others: a search by halves finds the shortest.

cdef size_t request_fault(const char* p, size_t n, const HeadLimits* limits) noexcept:
    cdef RequestHead h
    cdef size_t low = 0, high = n, middle
    while high - low > 1:
        middle = (low + high) // 2
        request_head_reset(&h)
        if parse_request_head(&h, p, <uint32_t>middle, limits) == PARSE_ERROR:
            high = middle
        else:
            low = middle
    return high - 1 if high else 0


cdef size_t response_fault(const char* p, size_t n, const HeadLimits* limits, int method) noexcept:
    cdef ResponseHead h
    cdef size_t low = 0, high = n, middle
    while high - low > 1:
        middle = (low + high) // 2
        response_head_reset(&h)
        if parse_response_head(&h, p, <uint32_t>middle, limits, method) == PARSE_ERROR:
            high = middle
        else:
            low = middle
    return high - 1 if high else 0
