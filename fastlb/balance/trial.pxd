# A selector over a copy of its servers' records: what would it pick?
from libc.stdint cimport uint32_t, uint64_t

from fastlb._core.shared cimport GroupLine, ServerLine
from fastlb.balance.base cimport ServerSet
from fastlb.balance.selector cimport Selector

cdef class Trial:
    cdef:
        readonly str algorithm
        ServerSet _set
        Selector _selector
        GroupLine* _group           # one block: the group, its servers, a ledger cell each; then all of it again
        ServerLine* _lines
        uint32_t* _ledgers
        size_t _size
        int _capacity
        int _n
        uint64_t _now_ms
    # Before `begin`: copies the records, servers in the order of their slots.
    cdef int copy_group(self, const GroupLine* group) except -1
    cdef int copy_server(self, const ServerLine* line, int tier, str name) except -1
    cdef uint64_t key_of(self, const char* text, size_t n) noexcept
    cdef object _bound_of(self, int member)
