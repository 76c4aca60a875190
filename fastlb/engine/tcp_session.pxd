# Layer 4: a client connection passed on to a server as it is.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.client_hello cimport Hello
from fastlb.engine.client_connection cimport ClientConnection
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange, ServerSide
from fastlb.engine.listener_base cimport ListenerBase
from fastlb.engine.server cimport Connector
from fastlb.engine.stream cimport Stream

cdef class TcpClient(ClientConnection):
    cdef:
        Chunk* inb              # read before there was a server to pass it to
        uint64_t start_us       # accepted
    # Goes on with what comes before the session: the layer's handshake, the ClientHello.
    cdef void prelude(self) noexcept
    cdef bint passable(self) noexcept
    cdef bint keep(self, const char* p, size_t n) noexcept
    # Reads until the ClientHello is complete, or known not to be one. False: later, or never.
    cdef bint hear(self, Hello* h) noexcept
    # `h`: of a ClientHello in core.obuf, or NULL.
    cdef void begin(self, const Hello* h) noexcept
    # Reads what the client says first, if it is here; True: there is something to tell the server at once.
    cdef bint look_ahead(self) noexcept
    cdef void remember(self, Exchange e, const Hello* h) noexcept
    cdef Exchange make_exchange(self)
    # Ends a session that has no server.
    cdef void refuse(self, const char* term, const char* reason) noexcept

cdef enum TcpState:
    TCP_CONNECTING = 0
    TCP_CONNECTED               # not yet given to its session
    TCP_TUNNEL
    TCP_CLOSED

cdef class TcpUpstream(ServerSide):
    cdef:
        Exchange exchange
        Stream tunnel           # the client's side
        uint8_t state           # TcpState
        bint left_first         # it ended its sending side, and the client had not
    # Whether the session told the client nothing, by the server's fault.
    cdef bint useless(self, Exchange e) noexcept
    # Tells passive checks and circuit breakers how the session has begun.
    cdef void settle(self, Exchange e) noexcept
    cdef void handshake(self) noexcept
    # Sends what the client said first while the connection may still be being made; True: the kernel took some of it.
    cdef bint speak_first(self, TcpClient c) noexcept
    cdef void established(self) noexcept
    cdef void drop(self, int failure) noexcept
    cdef void shut(self, bint reset) noexcept

cdef class TcpConnector(Connector):
    pass

# Takes over an accepted descriptor; False when it could not be registered (the descriptor is closed then).
cdef bint tcp_accept(Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept
