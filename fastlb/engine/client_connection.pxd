# A client connection, whatever it speaks.
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr, sockaddr_in6, sockaddr_storage
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport ClientSide, Exchange
from fastlb.engine.listener_base cimport ListenerBase
from fastlb.engine.proxy_protocol cimport ProxyHeader
from fastlb.engine.reactor cimport EventHandler
from fastlb.engine.stream cimport Layer, Stream
from fastlb.engine.upstream cimport Frontend

cdef enum ClientState:
    CLIENT_HEAD = 0             # idle, or a head is coming in; no exchange
    CLIENT_BODY                 # the exchange's request body is coming in
    CLIENT_WAIT                 # request received whole; the exchange is under way
    CLIENT_TUNNEL               # bytes both ways
    CLIENT_FLUSH                # last bytes going out, then close
    CLIENT_LINGER               # our side is closed; reading the rest away so that the answer is not lost to a reset
    CLIENT_CLOSED

# A PROXY header to come, then what is below.
cdef class ProxyLayer(Layer):
    cdef:
        Layer inner             # None = plain

cdef class ClientConnection(ClientSide):
    cdef:
        ListenerBase listener
        PyObject* client_next   # list of the worker's clients
        PyObject** client_pprev
        Exchange exchange
        Stream tunnel           # the other side of a tunnel
        uint32_t lingered       # bytes read away
        uint8_t state           # ClientState
        bint close_after        # no further request on this connection
        bint unread_body        # the answer came before the end of the request
        EventHandler pace       # watches how fast the client is; None = nobody does
        bint counted            # in the line of its listener's frontend
        sockaddr_in6 address    # of the client: the peer's, or what a PROXY header says; large enough for both families
        sockaddr_in6* reached   # where the client connected to, by a PROXY header; NULL = where it did

    # Makes an accepted descriptor this connection: layer, address, event loop, list of clients, deadline for what
    # the client owes first. False when that failed; the descriptor is closed then.
    cdef bint take_over(self, Core core, ListenerBase listener, int fd, const sockaddr* peer) noexcept
    cdef bint introduced(self, const ProxyHeader* h) noexcept
    cdef void unintroduced(self, const char* p, size_t n, const char* reason) noexcept
    cdef void enter(self, Core core, ListenerBase listener) noexcept
    # The last answer is out: close so that the client gets all of it.
    cdef void leave(self) noexcept
    cdef void start_linger(self) noexcept
    cdef void linger(self) noexcept
    cdef void shut(self, bint reset) noexcept
    # The worker is leaving: close when idle, else after the answer.
    cdef void drain_idle(self) noexcept
    # No request after the one at hand, or the next one.
    cdef void retire(self, uint32_t within_ms) noexcept
    # Bytes that were received and not used.
    cdef bint has_input(self) noexcept
    cdef void forget_input(self) noexcept
    cdef void relay_tunnel(self) noexcept
    # Bytes of the exchange wait for their bandwidth: nobody is late.
    cdef bint held_back(self) noexcept
    cdef void touch_tunnel(self, Exchange e) noexcept
    cdef void _relayed(self, Exchange e, int got, bint from_client) noexcept

# The worker is leaving: idle connections close, busy ones after their answer; `now` = all of them at once.
cdef void clients_drain(Core core, bint now) noexcept
# The listener is gone (None: all are): its connections close after their next answer, idle ones after `within_ms`.
# Tunnels go on.
cdef void clients_retire(Core core, ListenerBase listener, uint32_t within_ms) noexcept

# Counts a new connection by the frontend's rate limits of connections; what is refused, or would be, is logged.
cdef bint connection_allowed(Core core, Frontend front, const sockaddr* peer) noexcept
# A new configuration limits the connections of a frontend: those that are open already count.
cdef void clients_count(Core core) noexcept
