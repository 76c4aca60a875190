# Copies of requests for a second backend, whose answers are compared with the real ones and thrown away.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.extras cimport Observer
from fastlb.engine.inner cimport InnerRequest
from fastlb.engine.step cimport Step
from fastlb.engine.upstream cimport Action, Frontend
from fastlb.http.chunked cimport Chunked
from fastlb.http.response_head cimport ResponseHead

cdef enum:
    SUM_BLOCK = 4096

# What is kept of one answer.
cdef class Seen:
    cdef:
        uint16_t status         # 0 = no server answered
        bint whole              # it came to its end
        bint chunked
        bint broken             # its chunks are none
        uint32_t fill
        uint64_t length         # bytes of the body
        uint64_t state          # of the sum, over whole blocks
        uint64_t most           # bytes that are summed
        uint64_t took_us
        list values             # of the fields that are compared, bytes or None
        Chunked decoder
        char block[SUM_BLOCK]
    cdef void head(self, const ResponseHead* h, const char* buf, bint chunked, list names) noexcept
    cdef void body(self, const char* p, size_t n) noexcept
    cdef void _sum(self, const char* p, size_t n) noexcept
    cdef uint64_t digest(self) noexcept

cdef class MirrorStep(Step):
    cdef:
        Core core
        Action action           # towards the second backend
        Frontend front          # internal
        readonly str frontend, route, backend
        uint64_t share
        uint32_t most, max_body, timeout_ms
        bint compares, compares_body, logs
        uint64_t sum_most
        list names              # of fields, lower case
        object examples         # the last ones, a deque
        set running             # MirrorRequests
        # what became of the requests that were chosen
        uint64_t sent, busy, too_large, unfit, failed, same, differing, incomparable
        uint64_t by_status, by_headers, by_body
    cdef void _compare(self, MirrorPair pair) noexcept

# Both sides of one comparison. Watches the real exchange.
cdef class MirrorPair(Observer):
    cdef:
        MirrorStep step
        MirrorRequest copy      # None when it could not be made, or is over
        Chunk* saved            # the copy's bytes until it is sent
        uint32_t head_len
        Seen real, mirrored
        bint real_over, mirror_over
        bytes line              # request line
        str client
        str server              # of the real answer
    cdef void _drop(self) noexcept
    cdef void _over(self) noexcept

cdef class MirrorRequest(InnerRequest):
    cdef MirrorPair pair
