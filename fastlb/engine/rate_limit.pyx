"""Rules of rate limits: what is counted, by which key, and what a request over the limit is told.

Requests, connections and bytes in a time are counted by rate_table.pyx, requests at once by holds.pyx.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from fastlb._core.atomics cimport fl_add64, fl_cas64, fl_load64
from fastlb._core.limit_tables cimport MAX_RULES, LimitTables
from fastlb._core.region cimport Region
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.engine.extras cimport Extras
from fastlb.engine.holds cimport AT_ONCE_REFUSED, AT_ONCE_TAKEN
from fastlb.engine.rate_table cimport rate_ahead, rate_raise, rate_take
from fastlb.engine.request_key cimport (
    KEY_COOKIE, KEY_HEADER, KEY_HOST, KEY_IP, KEY_NONE, KEY_PATH, KEY_QUERY, find_key, mask_address)
from fastlb.http.put cimport put, put_number, put_text

import math

cdef enum:
    LABEL = 64                  # bytes of a rule's name in header fields
    LINE = 128                  # of what a field tells of a verdict
    PROBES = 64

KINDS = {"ip": KEY_IP, "path": KEY_PATH, "host": KEY_HOST, "header": KEY_HEADER, "cookie": KEY_COOKIE,
         "query": KEY_QUERY, "all": KEY_NONE, "route": KEY_NONE}
OF = {"requests": RATE_REQUESTS, "connections": RATE_REQUESTS, "bytes": RATE_BYTES, "concurrent": RATE_AT_ONCE}
UNITS = {"bytes": ";qu=\"content-bytes\"", "concurrent": ";qu=\"concurrent-requests\""}


cdef RuleLine* claim_line(LimitTables* t, uint64_t rule) noexcept:
    """The line of this rule, claimed by whoever asks first; NULL when there is none left near its place."""
    cdef uint64_t at
    cdef int i
    for i in range(PROBES):
        at = (rule + <uint64_t>i) & (MAX_RULES - 1)
        if fl_load64(&t.rules[at].rule) == 0:
            fl_cas64(&t.rules[at].rule, 0, rule)
        if fl_load64(&t.rules[at].rule) == rule:
            return &t.rules[at]
    return NULL


cdef class RateRule:
    """One rule of a frontend or route.

    name: tells it from others, over reloads and on other nodes; rate: how much a second, above 0, or of "concurrent"
    how many at once; burst: how much more may come at once; key: parts such as "ip", "path", "host", "header:NAME",
    "cookie:NAME", "query:NAME", "all" (one count for everybody); prefix4, prefix6: bits of an address that count as one
    client; exempt: networks not counted; of: requests | connections | bytes | concurrent; shared: noted for others;
    label: its name in header fields; span: seconds that the rate was written for; route: whose requests "route" in the
    key tells from others'.
    """

    def __cinit__(self, str name, double rate, unsigned burst=0, key=("ip",), int prefix4=32, int prefix6=64,
                  bint dry_run=False, exempt=(), *, str of="requests", bint shared=False, str label="", double span=1,
                  str route="", region=None):
        cdef bytes raw = name.encode()
        cdef int i
        if not rate > 0:
            raise ValueError(f"rate: {rate!r} is not above 0")
        if not 0 <= prefix4 <= 32 or not 0 <= prefix6 <= 128:
            raise ValueError(f"prefix: {prefix4} of 32, {prefix6} of 128 bits")
        if of not in OF:
            raise ValueError(f"of: {of!r} is none of {', '.join(OF)}")
        self.kind = OF[of]
        self.salt = xxh3_64(<const char*>raw, len(raw)) | 1
        if "route" in key:
            raw += b"\0" + route.encode()
        self.seed = xxh3_64(<const char*>raw, len(raw)) | 1
        self.unit_ns = 1e9 / rate
        self.interval_ns = <uint64_t>max(1.0, 1e9 / rate)
        self.capacity = <uint32_t>rate if self.kind == RATE_AT_ONCE else burst + 1
        # Past a hundred years nothing changes any more, and the sums stay within 64 bits. A byte may take less than
        # one ns.
        self.tolerance_ns = <uint64_t>min(
            (self.unit_ns if self.kind == RATE_BYTES else float(self.interval_ns)) * self.capacity, 3e18) or 1
        self.prefix4 = prefix4
        self.prefix6 = prefix6
        self.dry_run = dry_run
        self.shared = shared
        self.exempt = Networks(exempt) if exempt else None
        self.label = f'"{label[:LABEL - 2] or 1}"'.encode()
        quota, window = self._quota(rate, span)
        self.policy = self.label + f";q={quota}{UNITS.get(of, '')}".encode() + (b";w=%d" % window if window else b"")
        names = []
        self.nparts = len(key)
        self.parts = <KeyPart*>calloc(max(1, self.nparts), sizeof(KeyPart))
        if self.parts == NULL:
            raise MemoryError
        for i, part in enumerate(key):
            kind, _, what = part.partition(":")
            if kind not in KINDS:
                raise ValueError(f"key: {part!r} is none of {', '.join(KINDS)}")
            text = (what.lower() if kind == "header" else what).encode()
            names.append(text)
            self.parts[i].kind = KINDS[kind]
            self.parts[i].name = <const char*>text
            self.parts[i].name_len = <uint32_t>len(text)
        self._keep = tuple(names)
        self.region = region
        self.line = claim_line(&(<Region>region).limits, self.salt) if region is not None else NULL
        if self.line == NULL:
            self.line = &self.own

    def __dealloc__(self):
        free(self.parts)

    def _quota(self, double rate, double span):
        """(how much, in how many seconds): the rate as it was written, or what may come at once where that is more."""
        if self.kind == RATE_AT_ONCE:
            return self.capacity, 0
        quota = max(round(rate * span), self.capacity, 1)
        return quota, max(1, math.ceil(quota / rate - 1e-6))

    @property
    def refused(self):
        """Requests that all workers refused by the rule, or would have with `dry_run` off."""
        return fl_load64(&self.line.refused) + fl_load64(&self.line.dry)

    cdef uint64_t key(self, const RequestHead* h, const char* base, const sockaddr* client) noexcept:
        """Hash of rule and key, 0 when the request has no such key."""
        cdef uint64_t joined[3]
        cdef unsigned char address[17]
        cdef const char* p
        cdef size_t n
        cdef int i
        joined[0] = self.seed
        for i in range(self.nparts):
            if self.parts[i].kind == KEY_NONE:
                continue
            p = find_key(self.parts[i].kind, self.parts[i].name, self.parts[i].name_len, h, base, client, &n)
            if p == NULL:
                return 0
            if self.parts[i].kind == KEY_IP:
                n = mask_address(address, <const unsigned char*>p, n, self.prefix4, self.prefix6)
                p = <const char*>address
            joined[1] = xxh3_64(p, n)
            joined[2] = <uint64_t>i
            joined[0] = xxh3_64(<const char*>joined, sizeof(joined))
        return joined[0] | 1

    cdef bint take(self, Holds holds, uint64_t key, uint64_t now, uint32_t* first, RateVerdict* v) noexcept:
        """Counts one; false when it is too much, and then nothing is counted."""
        cdef uint64_t ahead
        cdef uint32_t used = 0
        cdef double left
        cdef int got
        cdef bint ok
        v.limit = self.capacity
        v.retry_after_s = 0
        v.remaining = 0
        v.reset_s = 0
        if self.kind == RATE_AT_ONCE:
            got = holds.take(key, self.capacity, first, &used)
            if got == AT_ONCE_TAKEN:
                v.remaining = self.capacity - used
            elif got == AT_ONCE_REFUSED:
                v.retry_after_s = 1
                return False
            else:
                fl_add64(&self.line.uncounted, 1)
                v.remaining = self.capacity
            return True
        if self.kind == RATE_BYTES:
            ahead = rate_ahead(&holds.table, key, now)
            ok = ahead < self.tolerance_ns
            if ok:
                holds.owe(key, self.unit_ns, self.shared, first)
            else:
                ahead += 1              # there must be something left
        else:
            ok = rate_take(&holds.table, key, now, self.interval_ns, self.tolerance_ns, &ahead)
            if ok and self.shared:
                holds.note(key, self.interval_ns)
            if not ok:
                v.retry_after_s = seconds_up(ahead - self.tolerance_ns)
                v.reset_s = seconds_up(ahead - self.interval_ns)
                return False
        if ok:
            left = <double>(self.tolerance_ns - ahead)
            left = left / self.unit_ns + 1e-6 if self.kind == RATE_BYTES else left // self.interval_ns
            v.remaining = <uint32_t>left if left < 4e9 else 4000000000
        else:
            v.retry_after_s = seconds_up(ahead - self.tolerance_ns)
        v.reset_s = seconds_up(ahead)
        return ok


cdef inline uint32_t seconds_up(uint64_t ns) noexcept nogil:
    cdef uint64_t s = (ns + 999999999) // 1000000000
    return <uint32_t>s if s < 0xffffffffu else 0xffffffffu


cdef class RateLimits:
    """The rules of a frontend and a route, in that order.

    holds: the tables and what this worker counts there; None for those of `region`, or without one for its own (tools
    and tests). fields: "combined", "separate" or "none": how answers tell of the limits.
    """

    def __cinit__(self, list rules not None, region=None, int slots=1024, int worker=0, *, Holds holds=None,
                  str fields="combined"):
        self.rules = rules
        self.holds = Holds(region, worker, slots) if holds is None else holds
        told = [rule.policy for rule in rules if not (<RateRule>rule).dry_run]
        self.told = fields != "none" and len(told) > 0
        self.separate = fields == "separate"
        self.policy = b", ".join(told)

    cdef bint admit(self, const RequestHead* h, const char* base, const sockaddr* client, uint64_t now_us,
                    uint32_t* first, RateVerdict* v) noexcept:
        cdef RateRule rule
        cdef RateVerdict one
        cdef uint64_t key
        cdef uint32_t i = 0
        v.limit = 0
        v.remaining = 0xffffffff
        v.retry_after_s = v.reset_s = 0
        v.rule = 0
        v.dry = one.dry = False
        for rule in self.rules:
            i += 1
            if rule.exempt is not None and rule.exempt.contains(client):
                continue
            key = rule.key(h, base, client)
            if key == 0:
                continue
            one.rule = i - 1
            if rule.take(self.holds, key, now_us * 1000, first, &one):
                if one.remaining < v.remaining and not rule.dry_run:
                    one.dry = v.dry
                    v[0] = one
                continue
            if rule.dry_run:
                fl_add64(&rule.line.dry, 1)
                v.dry = True
                continue
            fl_add64(&rule.line.refused, 1)
            one.dry = v.dry
            v[0] = one
            return False
        return True

    cdef void tell(self, Extras to, const RateVerdict* v) noexcept:
        cdef char value[LINE]
        cdef char* o
        cdef RateRule rule
        if not self.told or v.limit == 0:
            return
        rule = <RateRule>self.rules[v.rule]
        if self.separate:
            to.add_response(b"RateLimit-Limit", 15, value, <size_t>(put_number(value, v.limit) - value))
            to.add_response(b"RateLimit-Remaining", 19, value, <size_t>(put_number(value, v.remaining) - value))
            to.add_response(b"RateLimit-Reset", 15, value, <size_t>(put_number(value, v.reset_s) - value))
            return
        to.add_response(b"RateLimit-Policy", 16, self.policy, <size_t>len(self.policy))
        o = put(value, <const char*>rule.label, <size_t>len(rule.label))
        o = put_number(put_text(o, b";r="), v.remaining)
        if rule.kind != RATE_AT_ONCE:
            o = put_number(put_text(o, b";t="), v.reset_s)
        to.add_response(b"RateLimit", 9, value, <size_t>(o - value))

    def check(self, key, double now):
        """Counts one request of a made-up key by the first rule, `now` in seconds: (admitted, remaining, retry after
        in seconds). For tests and tools."""
        cdef RateVerdict v
        cdef uint32_t first = 0
        cdef RateRule rule = self.rules[0]
        cdef bint ok = rule.take(self.holds, number(key), <uint64_t>(now * 1e9 + 0.5), &first, &v)
        return ok, v.remaining, v.retry_after_s

    def settle(self, key, double now, int64_t size):
        """`check`, and the exchange ends at once after `size` bytes: what check says. For tests and tools."""
        cdef RateVerdict v
        cdef uint32_t first = 0
        cdef RateRule rule = self.rules[0]
        cdef uint64_t at = <uint64_t>(now * 1e9 + 0.5)
        cdef bint ok = rule.take(self.holds, number(key), at, &first, &v)
        self.holds.settle(first, <uint64_t>size, at)
        return ok, v.remaining, v.retry_after_s

    def header(self, key, double now):
        """The header lines of the answer to a request that `check` would count. For tests and tools."""
        cdef RateVerdict v
        cdef uint32_t first = 0
        cdef Extras to = Extras.__new__(Extras)
        v.rule = 0
        (<RateRule>self.rules[0]).take(self.holds, number(key), <uint64_t>(now * 1e9 + 0.5), &first, &v)
        self.tell(to, &v)
        return to.response.data[:to.response.end] if to.response != NULL else b""

    def raise_to(self, key, double tat):
        """Moves the key's theoretical arrival time on, in seconds. For tests and tools."""
        rate_raise(&self.holds.table, number(key), <uint64_t>(tat * 1e9))


cdef uint64_t number(object key):
    cdef bytes raw = key if isinstance(key, bytes) else key.encode()
    return xxh3_64(<const char*>raw, len(raw)) | 1


def rule_counts(Region region not None, str name):
    """(refused, would have refused, let through uncounted) by the rule of this name, over all workers."""
    cdef bytes raw = name.encode()
    cdef RuleLine* line = claim_line(&region.limits, xxh3_64(<const char*>raw, len(raw)) | 1)
    if line == NULL:
        return 0, 0, 0
    return fl_load64(&line.refused), fl_load64(&line.dry), fl_load64(&line.uncounted)
