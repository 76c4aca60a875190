# Serves exchanges that wait for a free server.
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport EventHandler

cdef class QueueSweeper(EventHandler):
    cdef:
        Core core
        list backends           # whose queues are looked at; one that left the configuration stays until its is empty
    cdef bint sweep(self) noexcept
