# The Guard of a backend, from its Spec.
from fastlb._core.region cimport Region
from fastlb.balance.base cimport ServerSet
from fastlb.engine.guard cimport Guard

# `b` is a Backend of the Spec, `members` its servers in their order.
cdef Guard make_guard(b, assignment, ServerSet members, Region region, int worker)
