# Rate limits: the generic cell rate algorithm over a table that all workers share.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr
from fastlb._core.shared cimport RateSlot
from fastlb.engine.networks cimport Networks
from fastlb.http.request_head cimport RequestHead

cdef struct RateVerdict:
    uint32_t limit              # requests at once that the rule allows (burst + 1)
    uint32_t remaining          # of those, now
    uint32_t retry_after_s      # rounded up, at least 1; 0 when admitted

# A request that lacks one of the parts of a rule's key is not counted by it.
cdef struct KeyPart:
    uint8_t kind                # KEY_*
    const char* name
    uint32_t name_len

cdef class RateRule:
    cdef:
        uint64_t salt           # of the rule: the same key of two rules is counted apart
        uint64_t interval_ns    # emission interval, 1 / rate
        uint64_t tolerance_ns   # interval * (burst + 1)
        uint32_t capacity       # burst + 1
        KeyPart* parts
        int nparts
        uint8_t prefix4         # bits of an address that make a key
        uint8_t prefix6
        bint dry_run
        Networks exempt         # None = nobody
        uint64_t* denied        # counts refusals of this worker, dry ones included
        tuple _keep
    cdef uint64_t key(self, const RequestHead* h, const char* base, const sockaddr* client) noexcept

cdef class RateLimits:
    cdef:
        RateSlot* table         # the region's, or one of its own
        uint64_t mask           # buckets - 1
        readonly list rules
        uint32_t* locks         # LOCKS words, held while a key is entered
        uint32_t owner          # worker + 1
        object region           # keeps the table mapped; not to be asked at the end, when the collector has cleared it
        bint owned              # the table is the limits' own
    # Hot. True when every rule lets the request pass; a rule behind one that refuses does not count it. `v` is of the
    # rule that is closest to its limit, or of the one that refused. O(rules), one cache line each.
    cdef bint admit(self, const RequestHead* h, const char* base, const sockaddr* client, uint64_t now_us,
                    RateVerdict* v) noexcept
