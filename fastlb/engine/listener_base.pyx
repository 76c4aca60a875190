"""What a connection knows of the listener it came from."""


cdef class ListenerBase(EventHandler):
    """Base of listeners."""

    cdef void room(self) noexcept:
        pass
