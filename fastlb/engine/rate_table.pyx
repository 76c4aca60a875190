"""The generic cell rate algorithm (ITU-T I.371) over a table that all workers share.

A key costs one number, its theoretical arrival time (TAT): a request is let through when it does not come earlier than
TAT - tolerance, and moves TAT on by the emission interval. The number moves by compare and swap, so over any number of
processes exactly as many requests pass as over one. The table is open: four slots a bucket, one cache line; a slot
whose TAT has passed is free, for its key has its whole burst back. When all four are busy the one nearest to that is
given up: under an attack by more keys than the table holds, limits become laxer and never stricter.
"""

from fastlb._core.atomics cimport fl_lock, fl_unlock
from fastlb._core.region cimport LOCKS

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
    TRIES = 16                  # of a swap that others keep winning; then it is not counted

cdef uint64_t NEVER = <uint64_t>1 << 63


cdef RateSlot* enter(RateSlot* bucket, uint64_t key, uint32_t* lock, uint32_t owner) noexcept nogil:
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


cdef RateSlot* find(RateTable* t, uint64_t key, bint make) noexcept nogil:
    cdef uint64_t at = key >> 20 & t.mask
    cdef RateSlot* bucket = &t.slots[at * WAYS]
    cdef int i
    for i in range(WAYS):
        if fl_rate_load(&bucket[i].key) == key:
            return &bucket[i]
    return enter(bucket, key, &t.locks[at & (LOCKS - 1)], t.owner) if make else NULL


cdef bint rate_take(RateTable* t, uint64_t key, uint64_t now, uint64_t cost, uint64_t tolerance,
                    uint64_t* ahead) noexcept nogil:
    cdef RateSlot* slot
    cdef uint64_t tat, fresh
    cdef int _try
    for _try in range(TRIES):
        slot = find(t, key, True)
        tat = fl_rate_load(&slot.tat)
        fresh = (tat if tat > now else now) + cost
        ahead[0] = fresh - now
        if ahead[0] > tolerance:
            return False
        if fl_rate_cas(&slot.tat, tat, fresh):
            return True
    return True


cdef uint64_t rate_ahead(RateTable* t, uint64_t key, uint64_t now) noexcept nogil:
    cdef RateSlot* slot = find(t, key, False)
    cdef uint64_t tat = 0 if slot == NULL else fl_rate_load(&slot.tat)
    return tat - now if tat > now else 0


cdef void rate_charge(RateTable* t, uint64_t key, uint64_t now, uint64_t cost) noexcept nogil:
    cdef uint64_t ahead
    rate_take(t, key, now, cost, NEVER, &ahead)


cdef uint64_t rate_charge_after(RateTable* t, uint64_t key, uint64_t now, uint64_t cost) noexcept nogil:
    cdef RateSlot* slot
    cdef uint64_t tat, start
    cdef int _try
    for _try in range(TRIES):
        slot = find(t, key, True)
        tat = fl_rate_load(&slot.tat)
        start = tat if tat > now else now
        if fl_rate_cas(&slot.tat, tat, start + cost):
            return start
    return now


cdef void rate_back(RateTable* t, uint64_t key, uint64_t cost) noexcept nogil:
    cdef RateSlot* slot = find(t, key, False)
    cdef uint64_t tat
    cdef int _try
    if slot == NULL:
        return
    for _try in range(TRIES):
        tat = fl_rate_load(&slot.tat)
        if tat < cost or fl_rate_cas(&slot.tat, tat, tat - cost):
            return


cdef void rate_raise(RateTable* t, uint64_t key, uint64_t tat) noexcept nogil:
    cdef RateSlot* slot
    cdef uint64_t seen
    cdef int _try
    for _try in range(TRIES):
        slot = find(t, key, True)
        seen = fl_rate_load(&slot.tat)
        if seen >= tat or fl_rate_cas(&slot.tat, seen, tat):
            return


cdef uint64_t rate_window(RateTable* t, uint64_t key, uint64_t now, uint64_t window, uint64_t n,
                          uint64_t* until) noexcept nogil:
    cdef RateSlot* slot
    cdef uint64_t seen = 0, fresh = 0, count = 0
    cdef int _try
    for _try in range(TRIES):
        slot = find(t, key, n > 0)
        seen = 0 if slot == NULL else fl_rate_load(&slot.tat)
        until[0] = seen - seen % WINDOW_STEP
        count = seen % WINDOW_STEP
        if until[0] <= now:
            until[0] = now + window - (now + window) % WINDOW_STEP
            count = 0
        count += n
        if count >= WINDOW_STEP:
            count = WINDOW_STEP - 1
        fresh = until[0] + count
        if n == 0 or fl_rate_cas(&slot.tat, seen, fresh):
            break
    return count
