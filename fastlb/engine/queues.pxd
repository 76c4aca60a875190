# Serves exchanges that wait for a free server.
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport EventHandler

cdef class QueueSweeper(EventHandler):
    cdef:
        Core core
        list backends           # those whose queues are looked at; ones that left the configuration stay until they are empty
    cdef bint sweep(self) noexcept
