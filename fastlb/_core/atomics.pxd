# Atomic operations on words that several processes change; see atomics.h for the memory orders.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "atomics.h" nogil:
    uint32_t fl_load32(const uint32_t* p)
    uint32_t fl_acquire32(const uint32_t* p)
    uint64_t fl_load64(const uint64_t* p)
    uint64_t fl_acquire64(const uint64_t* p)
    void fl_store32(uint32_t* p, uint32_t v)
    void fl_store64(uint64_t* p, uint64_t v)
    void fl_publish32(uint32_t* p, uint32_t v)              # release order: what was written before is seen with it
    void fl_publish64(uint64_t* p, uint64_t v)
    uint32_t fl_add32(uint32_t* p, uint32_t n)              # the value before
    uint64_t fl_add64(uint64_t* p, uint64_t n)              # the value before
    uint32_t fl_sub32_floor(uint32_t* p, uint32_t n)        # never below zero; the value before
    bint fl_cas32(uint32_t* p, uint32_t* seen, uint32_t new_value)      # on failure `seen` is what is there
    # A lock that workers hold for some nanoseconds: waits for it a bounded time; false = go on without it.
    bint fl_lock(uint32_t* p, uint32_t owner)
    void fl_unlock(uint32_t* p)
    bint fl_cas64(uint64_t* p, uint64_t old, uint64_t new_value)
    uint32_t fl_or32(uint32_t* p, uint32_t bits)            # the value before
    uint32_t fl_and32(uint32_t* p, uint32_t bits)           # likewise
