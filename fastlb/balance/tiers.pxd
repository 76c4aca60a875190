# Who may be picked: health, drain and ejection, tiers and backups, panic. Decided at each rebuild, not at each pick.
from libc.stdint cimport uint8_t, uint32_t

from fastlb.balance.base cimport ALL_TIERS, ServerSet, View

# Which tiers are in use, and how much each takes.
ctypedef struct Plan:
    uint32_t[ALL_TIERS] load    # percent; of several in use they sum up to 100, else 0
    uint8_t[ALL_TIERS] used
    uint8_t[ALL_TIERS] panic    # all of its eligible servers take part, well or not
    int lead                    # lowest in use
    bint spills                 # several are in use, each for its load

# Looks at all records anew. `panic` is the share of usable servers below which all of a tier are used, 0 = never;
# `over` the overprovisioning factor in percent.
cdef void plan_tiers(ServerSet servers, double panic, uint32_t over, Plan* plan) noexcept
# A picture of the tiers in use, or of one of them (-1 = all). NULL = no memory.
cdef View* build_view(ServerSet servers, const Plan* plan, int tier) noexcept
cdef void free_view(View* view) noexcept
# Same members with the same weights; a NULL view equals no other.
cdef bint same_members(const View* a, const View* b) noexcept
# Same seats by identity and configured weight, whatever their state.
cdef bint same_seats(const View* a, const View* b) noexcept
