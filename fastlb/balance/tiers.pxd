# Who may be picked: health, drain and ejection, backup tiers, panic. Decided at each rebuild, not at each pick.
from fastlb.balance.base cimport ServerSet, View

# A new picture of the set; `panic` is the share of usable servers below which all are used, 0 = never. NULL = no
# memory.
cdef View* build_view(ServerSet servers, double panic) noexcept
cdef void free_view(View* view) noexcept
# Same members with the same weights; a NULL view equals no other.
cdef bint same_members(const View* a, const View* b) noexcept
# Same seats by identity and configured weight, whatever their state.
cdef bint same_seats(const View* a, const View* b) noexcept
