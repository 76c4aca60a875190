# Serves exchanges that wait for a free server.
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport EventHandler

cdef class QueueSweeper(EventHandler):
    cdef:
        Core core
    cdef bint sweep(self) noexcept
