"""Rate limits: the generic cell rate algorithm (ITU-T I.371) over a table that all workers share.

A key costs one number, its theoretical arrival time (TAT): a request is let through when it does not come earlier than
TAT - tolerance, and moves TAT on by the emission interval. The number moves by compare and swap, so over any number of
processes exactly as many requests pass as over one. The table is open: four slots a bucket, one cache line; a slot
whose TAT has passed is free, for its key has its whole burst back. When all four are busy the one nearest to that is
given up: under an attack by more keys than the table holds, limits become laxer and never stricter.
"""

from libc.stdlib cimport calloc, free
from fastlb._core.atomics cimport fl_lock, fl_unlock
from fastlb._core.region cimport LOCKS, RATE_SLOTS, Region
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.engine.request_key cimport (
    KEY_COOKIE, KEY_HEADER, KEY_HOST, KEY_IP, KEY_NONE, KEY_PATH, KEY_QUERY, find_key, mask_address)

cdef extern from *:
    """
    #define fl_rate_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define fl_rate_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    static inline int fl_rate_cas(uint64_t* p, uint64_t seen, uint64_t want) {
        return __atomic_compare_exchange_n(p, &seen, want, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    """
    uint64_t fl_rate_load(uint64_t* p) noexcept nogil
    void fl_rate_store(uint64_t* p, uint64_t v) noexcept nogil
    bint fl_rate_cas(uint64_t* p, uint64_t seen, uint64_t want) noexcept nogil

cdef enum:
    WAYS = 4
    TRIES = 16                  # of a swap that others keep winning; then the request passes uncounted

KINDS = {"ip": KEY_IP, "path": KEY_PATH, "host": KEY_HOST, "header": KEY_HEADER, "cookie": KEY_COOKIE,
         "query": KEY_QUERY, "all": KEY_NONE}


cdef class RateRule:
    """One rule of a frontend or route.

    name: tells it from others, and over reloads; rate: requests a second, above 0; burst: how many more may come at
    once; key: parts such as "ip", "path", "host", "header:NAME", "cookie:NAME", "query:NAME", "all" (one count for
    everybody); prefix4, prefix6: bits of an address that count as one client; exempt: networks not counted.
    """

    def __cinit__(self, str name, double rate, unsigned burst=0, key=("ip",), int prefix4=32, int prefix6=64,
                  bint dry_run=False, exempt=()):
        cdef bytes raw = name.encode()
        cdef int i
        if not rate > 0:
            raise ValueError(f"rate: {rate!r} is not above 0")
        if not 0 <= prefix4 <= 32 or not 0 <= prefix6 <= 128:
            raise ValueError(f"prefix: {prefix4} of 32, {prefix6} of 128 bits")
        self.salt = xxh3_64(<const char*>raw, len(raw))
        self.interval_ns = <uint64_t>max(1.0, 1e9 / rate)
        self.capacity = burst + 1
        # Past a hundred years nothing changes any more, and the sums stay within 64 bits.
        self.tolerance_ns = <uint64_t>min(float(self.interval_ns) * self.capacity, 3e18)
        self.prefix4 = prefix4
        self.prefix6 = prefix6
        self.dry_run = dry_run
        self.exempt = Networks(exempt) if exempt else None
        names = []
        self.nparts = len(key)
        self.parts = <KeyPart*>calloc(max(1, self.nparts), sizeof(KeyPart))
        self.denied = <uint64_t*>calloc(1, sizeof(uint64_t))
        if self.parts == NULL or self.denied == NULL:
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

    def __dealloc__(self):
        free(self.parts)
        free(self.denied)

    @property
    def refused(self):
        """Requests that this worker refused by the rule, or would have with `dry_run` off."""
        return self.denied[0]

    cdef uint64_t key(self, const RequestHead* h, const char* base, const sockaddr* client) noexcept:
        """Hash of rule and key, 0 when the request has no such key."""
        cdef uint64_t joined[3]
        cdef unsigned char address[17]
        cdef const char* p
        cdef size_t n
        cdef int i
        joined[0] = self.salt
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


cdef class RateLimits:
    """The rules of a frontend and a route, in that order.

    region: whose table to use, as `worker`; None for one of its own (tools and tests).
    """

    def __cinit__(self, list rules not None, region=None, int slots=1024, int worker=0):
        cdef Region shared
        self.rules = rules
        self.owner = <uint32_t>worker + 1
        self.region = region
        if region is not None:
            shared = region
            self.table = shared.rates()
            self.locks = shared.locks()
            self.mask = RATE_SLOTS // WAYS - 1
        else:
            self.owned = True
            if slots < WAYS or slots & (slots - 1):
                raise ValueError(f"slots: {slots} is not a power of two of at least {WAYS}")
            self.table = <RateSlot*>calloc(slots, sizeof(RateSlot))
            self.locks = <uint32_t*>calloc(LOCKS, sizeof(uint32_t))
            if self.table == NULL or self.locks == NULL:
                raise MemoryError
            self.mask = slots // WAYS - 1

    def __dealloc__(self):
        if self.owned:
            free(self.table)
            free(self.locks)

    cdef bint admit(self, const RequestHead* h, const char* base, const sockaddr* client, uint64_t now_us,
                    RateVerdict* v) noexcept:
        cdef RateRule rule
        cdef RateVerdict one
        cdef uint64_t key
        v.limit = 0
        v.remaining = 0xffffffff
        v.retry_after_s = 0
        for rule in self.rules:
            if rule.exempt is not None and rule.exempt.contains(client):
                continue
            key = rule.key(h, base, client)
            if key == 0:
                continue
            if take(self, key, now_us * 1000, rule, &one):
                if one.remaining < v.remaining:
                    v[0] = one
                continue
            rule.denied[0] += 1
            if not rule.dry_run:
                v[0] = one
                return False
        return True

    def check(self, key, double now):
        """Counts one request of a made-up key by the first rule, `now` in seconds: (admitted, remaining, retry after
        in seconds). For tests and tools."""
        cdef RateVerdict v
        cdef bytes raw = key if isinstance(key, bytes) else key.encode()
        cdef bint ok = take(self, xxh3_64(<const char*>raw, len(raw)) | 1, <uint64_t>(now * 1e9 + 0.5), self.rules[0],
                            &v)
        return ok, v.remaining, v.retry_after_s


cdef RateSlot* enter(RateSlot* bucket, uint64_t key, uint32_t* lock, uint32_t owner) noexcept:
    """The slot of a key that was not in its bucket; under the lock, for two workers must not give it one each."""
    cdef bint locked = fl_lock(lock, owner)
    cdef uint64_t tat, oldest = 0
    cdef int i, victim = -1
    for i in range(WAYS):
        if fl_rate_load(&bucket[i].key) == key:
            victim = i
            break
        tat = fl_rate_load(&bucket[i].tat) if fl_rate_load(&bucket[i].key) else 0
        if victim < 0 or tat < oldest:
            victim = i
            oldest = tat
    if bucket[victim].key != key:
        # What the key before had left here must not count against this one.
        fl_rate_store(&bucket[victim].key, 0)
        fl_rate_store(&bucket[victim].tat, 0)
        fl_rate_store(&bucket[victim].key, key)
    if locked:
        fl_unlock(lock)
    return &bucket[victim]


cdef bint take(RateLimits limits, uint64_t key, uint64_t now, RateRule rule, RateVerdict* v) noexcept:
    """Counts one request at `now` (ns); false when it comes too early, and then nothing is counted."""
    cdef uint64_t at = key >> 20 & limits.mask
    cdef RateSlot* bucket = &limits.table[at * WAYS]
    cdef RateSlot* slot
    cdef uint64_t tat, fresh
    cdef int i, _try
    v.limit = rule.capacity
    v.retry_after_s = 0
    for _try in range(TRIES):
        slot = NULL
        for i in range(WAYS):
            if fl_rate_load(&bucket[i].key) == key:
                slot = &bucket[i]
                break
        if slot == NULL:
            slot = enter(bucket, key, &limits.locks[at & (LOCKS - 1)], limits.owner)
        tat = fl_rate_load(&slot.tat)
        fresh = (tat if tat > now else now) + rule.interval_ns
        if fresh > now + rule.tolerance_ns:
            v.remaining = 0
            v.retry_after_s = <uint32_t>((fresh - now - rule.tolerance_ns + 999999999) // 1000000000)
            return False
        if fl_rate_cas(&slot.tat, tat, fresh):
            v.remaining = <uint32_t>((now + rule.tolerance_ns - fresh) // rule.interval_ns)
            return True
    v.remaining = 0
    return True
