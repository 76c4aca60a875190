"""Servers as the algorithms see them, and the contract of an algorithm.

A `ServerSet` maps slots to the 64-byte records of `_core/shared.pxd`, in memory shared with other processes or in its
own. An `Algorithm` answers one question, which member next; it neither takes nor releases, knows no tiers, limits
or health, and never runs Python code when asked.
"""

cimport cython
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

from fastlb._core.atomics cimport fl_load32, fl_store32, fl_sub32_floor
from fastlb._core.shared cimport SERVER_UP
from fastlb._core.xxh3 cimport xxh3_64

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef enum:
    LINES_A_BLOCK = 64


@cython.no_gc                           # holds nothing but strings; records outlive every use of them
cdef class ServerSet:
    """Slots of one group of servers.

    `shared` says that somebody else changes the same records: another process, or another set of this one (after a
    reload the old snapshot's releases meet the new one's picks). Without it all counters are this set's alone.
    """

    def __cinit__(self, *, bint shared=True):
        self.shared = shared
        self.spare_ledgers = True
        self.group = &self._own_group
        self.names = []

    def __dealloc__(self):
        cdef ServerLine* block = self._blocks
        cdef ServerLine* following
        while block is not NULL:
            following = <ServerLine*><size_t>block.latency
            free(block)
            block = following
        free(self.slots)

    cdef int attach(self, int slot, ServerLine* line, uint32_t* ledger, int tier) except -1:
        cdef Slot* grown
        cdef uint32_t capacity
        if line is NULL or slot < 0 or <uint32_t>slot > self.count:
            raise ValueError(f"slot {slot} is not the next of {self.count}")
        if not 0 <= tier < ALL_TIERS:
            raise ValueError(f"tier must lie in 0..{MAX_TIERS - 1}, not {tier}")
        if ledger is NULL:
            if self.shared:
                raise ValueError("a shared record needs a ledger cell")
            ledger = &line.spare0
        if ledger is not &line.spare0:
            self.spare_ledgers = False
        if <uint32_t>slot == self.count:
            if self.count >= MAX_SERVERS:
                raise ValueError(f"a group holds at most {MAX_SERVERS} servers")
            if self.count == self._capacity:
                capacity = self._capacity * 2 if self._capacity else 8
                grown = <Slot*>realloc(self.slots, capacity * sizeof(Slot))
                if grown is NULL:
                    raise MemoryError()
                self.slots = grown
                self._capacity = capacity
            self.names.append("")
            memset(&self.slots[slot], 0, sizeof(Slot))
            self.slots[slot].identity = slot
            self.count += 1
        self.slots[slot].line = line
        self.slots[slot].ledger = ledger
        self.slots[slot].tier = tier
        self.touch()
        return 0

    cdef int attach_group(self, GroupLine* group) except -1:
        if group is NULL:
            raise ValueError("no group record")
        self.group = group
        return 0

    cdef int identify(self, int slot, str name) except -1:
        cdef bytes text = name.encode()
        if slot < 0 or <uint32_t>slot >= self.count:
            raise ValueError(f"no slot {slot}")
        self.names[slot] = name
        self.slots[slot].identity = xxh3_64(<const char*>text, len(text))
        self.touch()
        return 0

    cdef ServerLine* new_line(self) except NULL:
        cdef ServerLine* block
        cdef ServerLine* line
        cdef int i
        if self._free is NULL:
            block = <ServerLine*>aligned_alloc(64, LINES_A_BLOCK * sizeof(ServerLine))
            if block is NULL:
                raise MemoryError()
            block.latency = <size_t>self._blocks
            self._blocks = block
            for i in range(LINES_A_BLOCK - 1, 0, -1):
                self.free_line(&block[i])
        line = self._free
        self._free = <ServerLine*><size_t>line.latency
        memset(line, 0, sizeof(ServerLine))
        line.state = SERVER_UP
        line.weight = 1
        line.ramp = FULL_RAMP
        return line

    cdef void free_line(self, ServerLine* line) noexcept:
        line.latency = <size_t>self._free
        self._free = line

    cdef int detach(self, int slot) except -1:
        if slot < 0 or <uint32_t>slot >= self.count:
            raise ValueError(f"no slot {slot}")
        del self.names[slot]
        self.count -= 1
        memmove(&self.slots[slot], &self.slots[slot + 1], (self.count - slot) * sizeof(Slot))
        self.touch()
        return 0


cdef class Algorithm:
    """Base of the algorithms: a member index from a question. Made by `make_selector`, by name."""

    def __init__(self, dict options, bint shared):
        """`options` have been checked against the registry; `shared` says what `ServerSet.shared` will be."""
        self.attempts = 16

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        return -1

    cdef void took(self, int member) noexcept:
        pass

    cdef void gave(self, int member) noexcept:
        pass

    cdef uint64_t key_of(self, const void* data, size_t size) noexcept:
        return xxh3_64(data, size)

    cdef void observe(self, ServerLine* line, uint32_t latency_us, uint64_t now_ms) noexcept:
        pass


cdef void reclaim(ServerLine* line, uint32_t* ledger) noexcept nogil:
    fl_sub32_floor(&line.inflight, fl_load32(ledger))
    fl_store32(ledger, 0)
