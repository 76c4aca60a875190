# Accepts connections.
from fastlb._core.net cimport sockaddr
from fastlb.engine.listener_base cimport ListenerBase

cdef class Listener(ListenerBase):
    cdef:
        bint accepting
        bint warned             # the pause was reported
    cdef void accept_some(self) noexcept
    cdef bint welcome(self, int fd, const sockaddr* peer) noexcept
    cdef void pause(self, const char* why) noexcept
