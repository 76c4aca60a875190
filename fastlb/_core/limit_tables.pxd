# Shared memory of limits, a part of the region (region.pxd):
#
#   fronts        FrontLine[MAX_FRONTS], of frontends
#   fronts_held   uint32_t[slots][MAX_FRONTS]: connections that worker w counted on a frontend
#   rules         RuleLine[MAX_RULES]: what rules of rate limits have refused, over all workers
#   at once       uint64_t[AT_ONCE_SLOTS]: requests of a key at once; hash << 24 | how many, eight make a cache line
#   holds         uint64_t[slots][HOLDS]: what worker w counted there, a word a count: place << 40 | hash; 0 = none
#   worker lines  HoldLine[slots]
#   rings         RateNote[slots][RING]: what worker w counted by rules that several nodes share
#
# Everything that a worker counts is told by a record of its own too, which is subtracted should it die.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastlb._core.atomics cimport fl_cas64, fl_load32, fl_load64, fl_store32, fl_store64, fl_sub32_floor

cdef enum:
    MAX_FRONTS = 1024           # MAX_FRONTENDS of the region
    MAX_RULES = 8192
    AT_ONCE_SLOTS = 1 << 18     # keys, 2 MB when all are in use; a power of two
    AT_ONCE_WAYS = 8
    AT_ONCE_COUNT = 0xffffff
    HOLDS = 1 << 16             # requests of a worker that are counted at a time; what is beyond is not
    RING = 1 << 13              # a power of two

# One frontend (64 bytes).
ctypedef struct FrontLine:
    uint32_t open               # W: client connections, all workers; counted only where there is a limit
    uint32_t[15] spare

# One rule (64 bytes, so that two rules that are busy do not share a line).
ctypedef struct RuleLine:
    uint64_t rule               # W: its hash, 0 = free
    uint64_t refused            # W
    uint64_t dry                # W: what it would have refused
    uint64_t uncounted          # W: let through because no room was left to count them
    uint64_t[4] spare

ctypedef struct RateNote:
    uint64_t key
    uint64_t ns                 # that were added to its TAT

# One worker's.
ctypedef struct HoldLine:
    uint64_t written            # notes in its ring, W
    uint64_t lost               # that found no room, W
    uint32_t holds_high         # one above the highest hold used so far, W
    uint32_t step               # of overload (engine/overload.pxd), W
    uint64_t steps              # taken so far, W
    uint64_t shed               # idle connections that were ended early, W
    uint64_t cut                # connections that were reset, W
    uint32_t pressure           # in 1/1000, W
    uint32_t short_of           # of which resource, W
    uint64_t spare
    uint64_t taken              # notes, by the supervisor
    uint64_t[7] spare1

ctypedef struct LimitTables:
    FrontLine* fronts
    uint32_t* fronts_held
    RuleLine* rules
    uint64_t* at_once
    uint64_t* holds
    HoldLine* workers
    RateNote* rings


cdef inline size_t limit_bytes(int slots) noexcept nogil:
    """Bytes of all of it; a multiple of a page."""
    return (
        sizeof(FrontLine) * MAX_FRONTS + sizeof(uint32_t) * MAX_FRONTS * slots + sizeof(RuleLine) * MAX_RULES
        + sizeof(uint64_t) * AT_ONCE_SLOTS + sizeof(uint64_t) * HOLDS * slots
        + (sizeof(HoldLine) * slots + 4095 & ~<size_t>4095) + sizeof(RateNote) * RING * slots
    )


cdef inline size_t limit_lay_out(LimitTables* t, uint8_t* p, int slots) noexcept nogil:
    """Places the sections from `p` on, which stands on a page boundary; their bytes."""
    t.fronts = <FrontLine*>p
    p += sizeof(FrontLine) * MAX_FRONTS
    t.fronts_held = <uint32_t*>p
    p += sizeof(uint32_t) * MAX_FRONTS * slots
    t.rules = <RuleLine*>p
    p += sizeof(RuleLine) * MAX_RULES
    t.at_once = <uint64_t*>p
    p += sizeof(uint64_t) * AT_ONCE_SLOTS
    t.holds = <uint64_t*>p
    p += sizeof(uint64_t) * HOLDS * slots
    t.workers = <HoldLine*>p
    p += sizeof(HoldLine) * slots + 4095 & ~<size_t>4095
    t.rings = <RateNote*>p
    return limit_bytes(slots)


cdef inline void at_once_back(LimitTables* t, uint64_t hold) noexcept nogil:
    """One request less of a key, as long as its place is still the key's."""
    cdef uint64_t* word = &t.at_once[hold >> 40]
    cdef uint64_t seen = fl_load64(word)
    while seen >> 24 == (hold & <uint64_t>0xffffffffff) and seen & AT_ONCE_COUNT:
        if fl_cas64(word, seen, seen - 1):
            return
        seen = fl_load64(word)


cdef inline void limit_reap(LimitTables* t, int worker, uint32_t fronts) noexcept nogil:
    """Gives back what a dead worker had counted."""
    cdef uint64_t* holds = &t.holds[<size_t>worker * HOLDS]
    cdef uint32_t* held = &t.fronts_held[<size_t>worker * MAX_FRONTS]
    cdef uint64_t hold
    cdef uint32_t i
    for i in range(fronts):
        if fl_load32(&held[i]):
            fl_sub32_floor(&t.fronts[i].open, fl_load32(&held[i]))
            fl_store32(&held[i], 0)
    for i in range(fl_load32(&t.workers[worker].holds_high)):
        hold = fl_load64(&holds[i])
        if hold:
            at_once_back(t, hold)
            fl_store64(&holds[i], 0)
    fl_store32(&t.workers[worker].holds_high, 0)
