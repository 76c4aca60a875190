"""What a connection knows of the listener it came from."""


cdef class ListenerBase(EventHandler):
    """Base of listeners."""

    cdef void room(self) noexcept:
        pass

    cdef void accept_rest(self) noexcept:
        pass

    cdef void stop(self) noexcept:
        pass

    def replace(self, Frontend front not None, tls=None):
        """New snapshot: what begins from now on uses it, and handshakes the new certificates."""
        self.front = front
