from fastlb.balance.base cimport Algorithm, Ask

cdef class First(Algorithm):
    cdef:
        int _at                 # where the search of the current question goes on
