# What is written and counted about an exchange when it ends.
from fastlb.engine.exchange cimport Exchange

cdef void report_exchange(Exchange e) noexcept
