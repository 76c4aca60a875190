"""Stick tables: which server a key's requests go to.

A run of buckets of the shared region, so that all workers see one table and a reload finds it as it was. Keys are known
by their XXH3-64; what a bucket cannot hold pushes out the entry of that bucket that was unused for longest. Looking up
takes no lock. Entering a key does, for the few instructions in which two workers could enter the same key twice; a lock
whose holder died is released by the supervisor (`Region.reap`).
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from fastlb._core.atomics cimport fl_cas64, fl_load64, fl_lock, fl_store64, fl_unlock
from fastlb._core.region cimport LOCKS, STICK_BUCKETS, Region
from fastlb._core.shared cimport STICK_TEXT, STICK_WAYS
from fastlb._core.xxh3 cimport xxh3_64

cdef enum:
    STAMP_BITS = 40             # milliseconds: 34 years
    FRESH_MS = 500              # a stamp this young is not written again: that would take the line from other workers

cdef uint64_t STAMP = (<uint64_t>1 << STAMP_BITS) - 1


cdef inline uint64_t pack(int server, uint64_t now_ms) noexcept nogil:
    return <uint64_t>(server + 1) << STAMP_BITS | (now_ms & STAMP)


# Since a value's stamp; 0 for one that another worker has just set a moment later.
cdef inline uint64_t age_of(uint64_t value, uint64_t now_ms) noexcept nogil:
    cdef uint64_t age = (now_ms - value) & STAMP
    return age if age < STAMP >> 1 else 0


cdef inline int server_of(uint64_t value) noexcept nogil:
    return <int>(value >> STAMP_BITS) - 1


cdef class StickTable:
    """A stick table. `region` None makes one of its own memory, for tests. Not thread-safe but for the table itself.

    first, buckets: where it stands among the region's buckets; `buckets` is a power of two.
    expire: seconds without use after which an entry counts as absent; 0 = never.
    """

    def __cinit__(self, region=None, uint32_t first=0, uint32_t buckets=8, double expire=0.0, int worker=0):
        cdef Region shared
        if buckets == 0 or buckets & (buckets - 1) or buckets > STICK_BUCKETS or first > STICK_BUCKETS - buckets:
            raise ValueError(f"{buckets} buckets at {first} are no place for a table")
        self.region = region
        self.mask = buckets - 1
        self.owner = <uint32_t>worker + 1
        self.expire_ms = <uint64_t>(expire * 1000)
        if region is not None:
            shared = region
            self.buckets = shared.sticks(first)
            self.locks = shared.locks()
            return
        self.owned = True
        self.buckets = <StickBucket*>calloc(buckets, sizeof(StickBucket))
        self.locks = <uint32_t*>calloc(LOCKS, sizeof(uint32_t))
        if self.buckets == NULL or self.locks == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.owned:
            free(self.buckets)
            free(self.locks)

    cdef int find(self, uint64_t key, uint64_t now_ms) noexcept:
        cdef StickBucket* b = &self.buckets[(key >> 16) & self.mask]
        cdef uint64_t value, age
        cdef int i
        for i in range(STICK_WAYS):
            if fl_load64(&b.keys[i]) != key:
                continue
            value = fl_load64(&b.values[i])
            age = age_of(value, now_ms)
            if server_of(value) < 0 or (self.expire_ms and age > self.expire_ms):
                return -1
            if age >= FRESH_MS:
                fl_cas64(&b.values[i], value, pack(server_of(value), now_ms))
            return server_of(value)
        return -1

    cdef int claim(self, uint64_t key, int server, const char* text, size_t n, uint64_t now_ms) noexcept:
        return self._enter(key, server, text, n, now_ms, False)

    cdef void bind(self, uint64_t key, int server, const char* text, size_t n, uint64_t now_ms) noexcept:
        self._enter(key, server, text, n, now_ms, True)

    cdef int _enter(self, uint64_t key, int server, const char* text, size_t n, uint64_t now_ms, bint move) noexcept:
        cdef StickBucket* b = &self.buckets[(key >> 16) & self.mask]
        cdef uint32_t* lock = &self.locks[(key >> 16) & (LOCKS - 1)]
        cdef bint locked = fl_lock(lock, self.owner)
        cdef uint64_t age, oldest = 0
        cdef int i, found = -1, victim = -1
        for i in range(STICK_WAYS):
            if b.keys[i] == key:
                found = i
                break
            # An empty place is older than any; so is one whose server was never written.
            age = STAMP if b.keys[i] == 0 else age_of(fl_load64(&b.values[i]), now_ms)
            if victim < 0 or age > oldest:
                victim = i
                oldest = age
        if found >= 0:
            age = age_of(fl_load64(&b.values[found]), now_ms)
            if not move and not (self.expire_ms and age > self.expire_ms):
                server = server_of(fl_load64(&b.values[found]))
            fl_store64(&b.values[found], pack(server, now_ms))
        else:
            # Nobody may find the new key with the old server.
            fl_store64(&b.keys[victim], 0)
            fl_store64(&b.values[victim], pack(server, now_ms))
            if n > STICK_TEXT:
                n = STICK_TEXT
            b.texts[victim][0] = <uint8_t>n
            memcpy(&b.texts[victim][1], text, n)
            fl_cas64(&b.keys[victim], 0, key)       # release order: after the rest
        if locked:
            fl_unlock(lock)
        return server

    # --- for the control side and tests

    def entries(self, double now, int limit=1000):
        """The entries in use, at most `limit`: (key as bytes, server's index, seconds since its last use). O(size)."""
        cdef StickBucket* b
        cdef uint32_t i
        cdef uint64_t now_ms = <uint64_t>(now * 1000), value, age
        cdef int w
        found = []
        for i in range(self.mask + 1):
            b = &self.buckets[i]
            for w in range(STICK_WAYS):
                value = fl_load64(&b.values[w])
                age = age_of(value, now_ms)
                if b.keys[w] == 0 or server_of(value) < 0 or (self.expire_ms and age > self.expire_ms):
                    continue
                found.append(((<const char*>&b.texts[w][1])[:b.texts[w][0]], server_of(value), age / 1000.0))
                if len(found) >= limit:
                    return found
        return found

    def used(self, double now):
        """How many entries are in use. O(size)."""
        return len(self.entries(now, 1 << 30))

    def clear(self):
        """Forgets everything. Only when no worker uses the table."""
        memset(self.buckets, 0, sizeof(StickBucket) * (<size_t>self.mask + 1))

    def lookup(self, bytes key not None, double now):
        """The server bound to a key, or None, as a request's look-up would find it."""
        found = self.find(key_hash(key, len(key)), <uint64_t>(now * 1000))
        return None if found < 0 else found

    def enter(self, bytes key not None, int server, double now, *, bint move=False):
        """Claims (or, with `move`, binds) a key for a server; the server that it is bound to then."""
        return self._enter(key_hash(key, len(key)), server, key, len(key), <uint64_t>(now * 1000), move)


cdef uint64_t key_hash(const char* p, size_t n) noexcept:
    cdef uint64_t h = xxh3_64(p, n)
    return h if h else 1
