"""What is asked before a request goes on: access, authentication, faults. See admission.pyx for who asks."""


cdef class Step:
    """Lets everything pass."""

    cdef int ask(self, PyObject* exchange) noexcept:
        return STEP_PASS

    cdef void due(self, PyObject* exchange) noexcept:
        pass

    cdef void left(self, PyObject* exchange) noexcept:
        pass
