# Exchanges whose attempts are tried again.
from fastlb.engine.exchange cimport Exchange

cdef class RetriedExchange(Exchange):
    cdef void _moved(self, const char* before) noexcept
