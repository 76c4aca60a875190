# Rate limits: requests, connections and bytes in a time, requests at once; by key, over a table that all workers share.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastlb._core.limit_tables cimport RuleLine
from fastlb._core.net cimport sockaddr
from fastlb.engine.extras cimport Extras
from fastlb.engine.holds cimport Holds
from fastlb.engine.networks cimport Networks
from fastlb.http.request_head cimport RequestHead

cdef enum RateKind:
    RATE_REQUESTS = 0           # or connections: one is counted each time
    RATE_BYTES                  # charged when the exchange has ended
    RATE_AT_ONCE

cdef struct RateVerdict:
    uint32_t limit              # how much at once the rule allows; 0 = no rule counted this
    uint32_t remaining          # of those, now
    uint32_t retry_after_s      # rounded up, at least 1; 0 when admitted
    uint32_t reset_s            # until all of it is there again
    bint dry                    # some rule would have refused it
    uint32_t rule               # which one `limit` is about

# A request that lacks one of the parts of a rule's key is not counted by it.
cdef struct KeyPart:
    uint8_t kind                # KEY_*
    const char* name
    uint32_t name_len

cdef class RateRule:
    cdef:
        uint64_t salt           # the rule's hash
        uint64_t seed           # of its keys: the same one of two rules is counted apart
        double unit_ns          # emission interval, 1 / rate
        uint64_t interval_ns
        uint64_t tolerance_ns   # interval * (burst + 1)
        uint32_t capacity       # burst + 1
        uint8_t kind            # RateKind
        KeyPart* parts
        int nparts
        uint8_t prefix4         # bits of an address that make a key
        uint8_t prefix6
        bint dry_run
        bint shared             # with other nodes
        Networks exempt         # None = nobody
        RuleLine* line          # counts refusals of all workers
        RuleLine own
        object region           # of the line; None = its own
        readonly bytes label    # in header fields, quoted
        readonly bytes policy   # item of RateLimit-Policy
        tuple _keep
    cdef uint64_t key(self, const RequestHead* h, const char* base, const sockaddr* client) noexcept
    cdef bint take(self, Holds holds, uint64_t key, uint64_t now, uint32_t* first, RateVerdict* v) noexcept

cdef class RateLimits:
    cdef:
        Holds holds
        readonly list rules
        bint told               # in header fields
        bint separate           # in three fields, as drafts up to 07 had it
        bytes policy            # value of RateLimit-Policy
    # Hot. True when every rule lets the request pass; a rule behind one that refuses does not count it. `v` is of the
    # rule that is closest to its limit, or of the one that refused. `first`: what the exchange owes in the end (Holds).
    # O(rules), one cache line each.
    cdef bint admit(self, const RequestHead* h, const char* base, const sockaddr* client, uint64_t now_us,
                    uint32_t* first, RateVerdict* v) noexcept
    # Adds the header lines that tell of a verdict to those of an exchange.
    cdef void tell(self, Extras to, const RateVerdict* v) noexcept
