# What happens to a request before a server is picked: who it is from, whether it is let in, which route it takes.
from libc.stdint cimport int64_t, uint32_t
from fastlb.engine.exchange cimport ClientSide, Exchange
from fastlb.engine.rate_limit cimport RateLimits
from fastlb.engine.step cimport Step
from fastlb.engine.upstream cimport Backend
from fastlb.http.identity cimport ForwardInfo
from fastlb.http.request_head cimport RequestHead

# Begins an exchange and routes it; core.request describes the head at `buf`, `body_len` bytes follow it in memory.
cdef void start_exchange(Exchange e, ClientSide client, const char* buf, uint32_t head_len, size_t body_len,
                         bint request_done) noexcept
# Asks the rate limits; false when the exchange was refused.
cdef bint within_limits(Exchange e, RateLimits limits, RequestHead* h) noexcept
# Holds the bytes of an exchange, which has a backend, to the limits of its route and backend, of which one has any.
cdef void limit_bandwidth(Exchange e, RequestHead* h) noexcept
# Asks the steps that were not asked yet; false when one of them took over.
cdef bint take_steps(Exchange e) noexcept
# Has the exchange wait for `step`, at most `ms`; the client's leaving ends it. The step resumes or answers.
cdef void park(Exchange e, Step step, uint32_t ms) noexcept
# The exchange that waited goes on to the next step, and then to its backend.
cdef void resume(Exchange e) noexcept
# A head that cannot be used: answers `status` and closes.
cdef void refuse_exchange(Exchange e, ClientSide client, const char* p, size_t n, int status, const char* term,
                          const char* reason) noexcept
# Keeps p[0:n], of which p[at] breaks the protocol, for whoever asks (capture.pxd): of the head, or of a body of which
# `before` bytes came earlier.
cdef void capture_request(ClientSide client, const char* p, size_t n, size_t at, int64_t before, bint body, int status,
                          const char* reason) noexcept
# Hands an exchange whose head `h` describes to a backend, with the key of its algorithm.
cdef void enter_backend(Exchange e, Backend b, RequestHead* h) noexcept
# What the rewriting of a head needs to know of the client.
cdef void fill_info(Exchange e, ForwardInfo* info) noexcept
