"""Limits of bandwidth as configured, and which of them hold for an exchange.

HAProxy's bwlim-in and bwlim-out, of a stream or shared by key; nginx's limit_rate and limit_rate_after.
"""

from fastlb.engine.throttle cimport throttle_new

cdef enum:
    REQUESTS = 0x52455130       # tells the counts of the two directions apart; even, for keys are odd


cdef class BandwidthRule:
    """One limit.

    name: tells it from others, over reloads; request, response: bytes a second, 0 = unlimited; what is `after` passes
    first; key: parts as of RateRule, () = one for all, None = each request has its own; exempt: networks not limited.
    """

    def __cinit__(self, str name, *, double request=0, double response=0, uint64_t request_after=0,
                  uint64_t response_after=0, key=None, int prefix4=32, int prefix6=64, exempt=(),
                  str route=""):
        if request < 0 or response < 0:
            raise ValueError(f"rates: {request!r} and {response!r} must not be below 0")
        self.request_ns = 1e9 / request if request else 0
        self.response_ns = 1e9 / response if response else 0
        self.request_after = request_after
        self.response_after = response_after
        self.exempt = Networks(exempt) if exempt else None
        if key is not None:
            self.by = RateRule(f"bandwidth {name}", 1, 0, key, prefix4, prefix6, of="bytes", route=route)


cdef class Bandwidth:
    """The limits of one place of the configuration; all of them hold."""

    def __cinit__(self, list rules not None, Holds holds not None):
        self.rules = rules
        self.holds = holds

    cdef void impose(self, Extras to, Reactor reactor, uint64_t* counters, const RequestHead* h, const char* base,
                     const sockaddr* client) noexcept:
        cdef BandwidthRule rule
        cdef uint64_t key = 0
        for rule in self.rules:
            if rule.exempt is not None and rule.exempt.contains(client):
                continue
            if rule.by is not None:
                key = rule.by.key(h, base, client)
                if key == 0:
                    continue            # a request that has no such key
            else:
                key = 0
            if rule.request_ns:
                if to.request_rate is None:
                    to.request_rate = throttle_new(reactor, &self.holds.table, self.holds, counters)
                to.request_rate.add(key ^ REQUESTS if key else 0, rule.request_ns, rule.request_after)
            if rule.response_ns:
                if to.response_rate is None:
                    to.response_rate = throttle_new(reactor, &self.holds.table, self.holds, counters)
                to.response_rate.add(key, rule.response_ns, rule.response_after)
