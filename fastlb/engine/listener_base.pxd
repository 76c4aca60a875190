# What a connection knows of the listener it came from.
from libc.stdint cimport uint16_t
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.upstream cimport Frontend

cdef class ListenerBase(EventHandler):
    cdef:
        Core core
        Frontend front          # snapshot in force; replaced as a whole
        uint16_t port
        bint https
        object tls              # SSLContext, None = plain
    # A connection was closed: accepting may go on.
    cdef void room(self) noexcept
