# What all connections of one worker share: the loop, the scratch memory, the log.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.reactor cimport EventHandler, Reactor
from fastlb.engine.access_log cimport AccessLog
from fastlb.engine.error_log cimport ErrorLog
from fastlb.engine.holds cimport Holds
from fastlb.engine.proxy_protocol cimport PROXY_OUT
from fastlb.engine.span_buffer cimport SpanBuffer
from fastlb.http.request_head cimport RequestHead
from fastlb.http.response_head cimport ResponseHead

cdef enum:
    READ_SIZE = 262144          # one recv; larger reads measured best on large bodies
    HEAD_OUT = 262144           # room for a head on its way out
    CIPHER_SIZE = 65536         # ciphertext received at once
    READ_ROUNDS = 4             # recv calls a handler makes before others get their turn

# Told of every exchange that ends, and asked to tell about one. Declared here, below the exchanges, so that these need
# not know who listens.
cdef class Reporter:
    cdef void report(self, PyObject* exchange) noexcept
    # The response head h[0:n], which has room behind it, with X-Fastlb-Explain in it; its new length. Cold: asked for
    # only where the frontend says so.
    cdef size_t explain(self, PyObject* exchange, char* h, size_t n) noexcept

cdef class Core:
    cdef:
        Reactor reactor
        AccessLog log
        Reporter reporter
        ErrorLog errors         # None = not kept
        SpanBuffer spans        # of the frontends that record any
        Holds holds             # what exchanges owe to rate limits; None where there are none
        # Scratch: valid only inside one callback, never kept.
        char* rbuf              # received bytes
        char* obuf              # heads being written
        char* cbuf              # ciphertext; NULL until there is a TLS listener or server
        object rview            # memoryview of rbuf, for decryption straight into it
        void* wire              # fl_wire: what libssl reads and writes; NULL as cbuf, or where not used
        char preface[PROXY_OUT]  # PROXY header for the server connection that is about to be opened
        size_t preface_len
        const sockaddr* client_address  # of the client that it is opened for, where that matters
        RequestHead* request    # the head parsed last
        ResponseHead* response
        Chunk* feeding          # input chunk whose bytes are being processed; NULL = scratch bytes
        const char* request_base    # the bytes `request` refers to; NULL = none. Tells whose head it is.
        # Connections
        PyObject* client_first  # all client connections; doubly linked through H1Client
        uint32_t clients        # open now
        uint32_t max_clients    # accepting pauses above
        uint32_t server_connections     # open, idle ones included
        PyObject* pools_first   # Servers with idle connections, linked
        PyObject* pools_last
        uint64_t seed           # state of the worker's generator of hash fallbacks
        uint32_t tarpitted      # exchanges that are held back before they are refused
        bint draining
        bint lean               # overload: answers close their connections
        bint parting            # one of the two
        uint64_t starved_ms     # when a descriptor could not be had; 0 = never
        bint closed
        bint queues_waiting     # some backend has exchanges waiting
        list waiting            # Backends with exchanges in their queue, of earlier snapshots too
        EventHandler sweeper    # serves the queues after the batch
    cdef void defer_queues(self) noexcept
