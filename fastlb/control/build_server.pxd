# Servers of a Spec, for the builder.
from libc.stdint cimport uint32_t
from fastlb.engine.core cimport Core
from fastlb.engine.server cimport Server

cdef enum:
    NO_LIMIT = 0x7fffffff

# Of a time in seconds; what is longer than 24 days counts as that.
cdef uint32_t milliseconds(object seconds) except? 0
# The server `s` of the backend `b`, which has no counters yet.
cdef Server make_server(Core core, s, b)
