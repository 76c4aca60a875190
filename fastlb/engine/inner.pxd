# A request that the proxy makes itself, to a backend of the configuration: checks, pools, retries and timeouts are
# those of any other. What it is for derives from it.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr_storage
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport ClientSide, Exchange
from fastlb.engine.extras cimport Extras
from fastlb.engine.upstream cimport Action, Frontend
from fastlb.http.response_head cimport ResponseHead

cdef class InnerRequest(ClientSide):
    cdef:
        Exchange exchange       # None before it begins and when it is over
        sockaddr_storage address    # of the client that it is made for
        uint16_t port_there, port_here
        bint tls
        Extras lines            # what its exchange has beside its route; None = nothing
        bint chunked            # the body of the answer comes in chunks
        bint succeeded          # the answer came whole
        uint64_t until_ms       # in all; 0 = as long as the backend's timeouts allow
    # Takes over who the client of an exchange is.
    cdef void speak_for(self, Exchange e) noexcept
    # Sends `saved`, a whole request with its head of head_len bytes, which it then owns; `finished` is called once,
    # perhaps before this returns.
    cdef void start(self, Core core, Action action, Frontend front, Chunk* saved, uint32_t head_len,
                    uint32_t ms) noexcept
    # Forgets it: `finished` is not called any more.
    cdef void abort(self) noexcept
    # --- for who derives
    cdef void answer_head(self, const ResponseHead* h, const char* buf) noexcept
    # Of the body as it was framed; false ends the request.
    cdef bint answer_body(self, const char* p, size_t n) noexcept
    # `succeeded` tells whether there was a whole answer of a server; else `status` is what was made of the failure.
    cdef void finished(self, int status) noexcept
    # --- inside
    cdef void _over(self, bint succeeded, int status) noexcept
    cdef void _let_go(self) noexcept
