# What is written and counted about an exchange when it ends.
from cpython.object cimport PyObject
from fastlb.engine.core cimport Reporter

cdef class ExchangeReporter(Reporter):
    pass
