# What TLS connections of one listener, or to one server, have in common.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastlb.engine.core cimport Core
from fastlb.engine.libssl cimport SSL, SSL_CTX, SSL_SESSION
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.stream cimport STREAM_EOF, Layer, Stream

cdef enum TlsState:
    TLS_START = 0               # nothing has come from the peer
    TLS_WAITING                 # the first message has come, and waits for what the rate lets through
    TLS_HANDSHAKE
    TLS_ESTABLISHED
    TLS_BROKEN

cdef class TlsLayer(Layer):
    cdef:
        TlsServer server        # None on a connection to a server
        TlsClient client        # None on an accepted connection
        uint8_t state           # TlsState
        bint ended              # the peer's close_notify has come
        bytes words             # of its certificate; None until somebody asks
    # For the log, of an established connection; static texts or the layer's own, NULL = none.
    cdef const char* version_text(self) noexcept
    cdef const char* cipher_text(self) noexcept
    cdef const char* name_text(self) noexcept
    # Facts of an established connection, for people; cold.
    cdef object version(self)
    cdef object cipher(self)
    cdef object server_name(self)
    # The peer's certificate (DER), b'' = it showed none.
    cdef bytes peer_certificate(self)
    cdef bint resumed(self) noexcept
    # The client's certificate in words, b'' = it showed none; made once, and kept.
    cdef bytes identity(self)

# Whether the handshake of a client has to wait for its turn, for which its stream has been queued.
cdef inline bint waits_for_turn(Stream s, TlsLayer layer) noexcept:
    if layer.state >= TLS_ESTABLISHED or layer.server is None or s.core.reactor.turn == <PyObject*>s:
        return False
    # Who has left before it began needs no turn: nothing is done for it.
    if layer.state == TLS_START and s.stream_flags & STREAM_EOF:
        return False
    return s.core.reactor.queue(s, layer.state != TLS_START)

cdef class TlsServer(EventHandler):
    cdef:
        readonly object context     # ssl.SSLContext, for clients whose name no certificate covers
        SSL_CTX* pointer            # of it; NULL = the portable layer
        dict names                  # lower-case server name, '*.' kept -> ssl.SSLContext
        bint strict                 # a name that no certificate covers ends the handshake
        readonly bint asks          # for client certificates
        object describe             # a client's certificate (DER) -> bytes for X-Forwarded-Client-Cert
        uint32_t handshake_ms       # 0 = the frontend's header time holds for the handshake too
        uint32_t head_ms            # after it; 0 = unlimited
        uint64_t gap_us             # between two handshakes of a worker; 0 = unlimited
        uint64_t next_us
        uint64_t* counters          # of the frontend
        dict challenged             # name -> ssl.SSLContext for an ACME server's handshakes; empty = none
        object waiting              # deque of streams whose handshakes the rate holds back
        bint armed                  # a deadline is set, and a reference held for it
    # Whether the rate lets a handshake begin now; else it waits, and its stream is queued when the rate does.
    cdef bint admit(self, Stream s) noexcept
    # A handshake is done.
    cdef void done(self, Stream s, TlsLayer layer) noexcept
    # A handshake has failed: counted by the reason, one of COUNT_HANDSHAKE_* (stats.pxd).
    cdef void failed(self, int why) noexcept
    cdef bint _may(self, Core core) noexcept
    cdef void _wait(self, Core core) noexcept
    cdef void _pump(self) noexcept
    cdef object choose(self, object name)

cdef class TlsClient:
    cdef:
        readonly object context     # ssl.SSLContext
        SSL_CTX* pointer
        readonly str name           # SNI and what the certificate must be for; '' = neither
        bint verify_name
        bint is_address
        SSL_SESSION* session        # of the last connection, to be resumed; NULL = none
        str who                     # for the log
        bytes complaint             # what the last handshake failed for, as it was logged
        uint64_t complained_ms
    cdef void keep(self, SSL_SESSION* session) noexcept
    # A handshake has failed: its exchange is told why, and the log, once a minute as long as that is the same.
    cdef void failed(self, Stream s, str why) noexcept
