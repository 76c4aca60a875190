# The least that a client must send of a request's body, or take of an answer.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from fastlb.engine.client_connection cimport ClientConnection
from fastlb.engine.reactor cimport EventHandler, Reactor

cdef class Pace(EventHandler):
    cdef:
        Reactor reactor
        PyObject* client            # borrowed: the client holds this object
        uint64_t came               # bytes from the client when the window began
        int64_t taken               # that the client had taken then
        uint32_t waits              # for bandwidth, until then
        bint alone                  # the exchange had ended then: what is out is the end of its answer
    cdef void begin(self, ClientConnection c) noexcept

# A window begins, now: the client could go on from here. Its frontend asks for it (`pace_ms`).
cdef void pace_watch(ClientConnection c) noexcept
# The client has taken all there was: it need not do anything but, perhaps, send its body.
cdef void pace_relieve(ClientConnection c) noexcept
