/* GCC __atomic builtins under short names: what the records of shared.pxd are changed with.
 *
 * Counters are relaxed: nothing else is published through them. Where the order of two stores matters (the ledger and
 * the counter it accounts for, a record and its epoch), the read-modify-write is acquire-release and the epoch is read
 * with acquire, which costs nothing more on x86-64. */
#ifndef FASTLB_ATOMICS_H
#define FASTLB_ATOMICS_H
#include <sched.h>
#include <stdint.h>
#include <time.h>

static inline uint32_t fl_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint32_t fl_acquire32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline uint64_t fl_load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint64_t fl_acquire64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fl_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void fl_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void fl_publish64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void fl_publish32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

/* Value before the addition. */
static inline uint32_t fl_add32(uint32_t *p, uint32_t n) { return __atomic_fetch_add(p, n, __ATOMIC_ACQ_REL); }
static inline uint64_t fl_add64(uint64_t *p, uint64_t n) { return __atomic_fetch_add(p, n, __ATOMIC_RELAXED); }

/* Value before the change. */
static inline uint32_t fl_or32(uint32_t *p, uint32_t bits) { return __atomic_fetch_or(p, bits, __ATOMIC_ACQ_REL); }
static inline uint32_t fl_and32(uint32_t *p, uint32_t bits) { return __atomic_fetch_and(p, bits, __ATOMIC_ACQ_REL); }

/* Subtracts at most what is there; returns the value before. */
static inline uint32_t fl_sub32_floor(uint32_t *p, uint32_t n) {
    uint32_t old = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(p, &old, old > n ? old - n : 0, 1, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
    }
    return old;
}

/* True when *p was *seen and is now `new_value`; else *seen is what is there. */
static inline int fl_cas32(uint32_t *p, uint32_t *seen, uint32_t new_value) {
    return __atomic_compare_exchange_n(p, seen, new_value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* True when *p was `old` and is now `new_value`. */
static inline int fl_cas64(uint64_t *p, uint64_t old, uint64_t new_value) {
    return __atomic_compare_exchange_n(p, &old, new_value, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Holders do a few dozen instructions, so looking again is nearly always enough; one that the kernel has taken off its
 * CPU gets a chance to go on: by sched_yield, which does not sleep, and where somebody else had its CPU all that time, by
 * naps. Bounded, about 10 ms: nobody waits for ever for a process that died. */
static inline int fl_lock(uint32_t *p, uint32_t owner) {
    const struct timespec nap = {0, 50000};
    for (int i = 0; i < 612; i++) {
        uint32_t seen = 0;
        if (__atomic_compare_exchange_n(p, &seen, owner, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return 1;
        if (i >= 512) nanosleep(&nap, NULL);
        else if (i >= 256) sched_yield();
    }
    return 0;
}
static inline void fl_unlock(uint32_t *p) { __atomic_store_n(p, 0, __ATOMIC_RELEASE); }
#endif
