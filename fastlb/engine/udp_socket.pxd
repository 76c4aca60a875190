# Sockets towards servers: each is a flow's, or rests until another flow to the same server takes it.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb.engine.core cimport Core
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.server cimport Server
from fastlb.engine.upstream cimport Backend

# Whose a socket is.
cdef class SocketUser(EventHandler):
    # Events of its socket.
    cdef void on_socket(self, uint32_t events) noexcept

cdef class UdpSocket(EventHandler):
    cdef:
        Server server
        RestingSockets home
        SocketUser user             # None while it rests
        Backend backend             # of its last use; who hears of an error that comes while it rests
        int32_t slot
        bint joins                  # the kernel joins what it receives
        bint unjoined               # its way to the server takes no joined datagrams
        uint64_t opened_ms, rested_ms
        # Among the resting ones of the server, and among all; in the order they came to rest.
        PyObject* rest_next
        PyObject* rest_prev
        PyObject* all_next
        PyObject* all_prev
    # Closes it for good; safe from within its own events.
    cdef void shut(self) noexcept

cdef class RestingSockets(EventHandler):
    cdef:
        Core core
        PyObject* first             # rests the longest
        PyObject* last
        readonly uint32_t count
        readonly uint64_t taken, opened
    # One to the server, opened or taken; NULL with `error` set. `no_answers`: its user takes none, so it need not have
    # rested. The reference is the reactor's.
    cdef PyObject* get(self, Server server, bint no_answers, int* error) noexcept
    # Its flow is over and nothing is to come.
    cdef void put(self, UdpSocket s) noexcept
    cdef void drop_oldest(self) noexcept
    cdef void clear(self) noexcept
    cdef void unlink(self, UdpSocket s) noexcept
    cdef PyObject* rested(self, Server server, bint no_answers) noexcept
    cdef PyObject* open(self, Server server, int* error) noexcept
