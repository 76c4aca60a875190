# Keeps clients at their servers: what affinity does to an exchange.
from fastlb.engine.exchange cimport Exchange
from fastlb.http.request_head cimport RequestHead
from fastlb.http.response_head cimport ResponseHead

# Hot, where the backend has affinity. In place of Exchange.assign: the client's own server if it can take the request.
cdef void assign_sticky(Exchange e, RequestHead* h) noexcept
# Layer 4, likewise. The connection to the server stands: it is the client's from now on.
cdef void stick_session(Exchange e) noexcept
# A session has ended: until now its entry was in use.
cdef void touch_session(Exchange e) noexcept
# Hot, likewise. What the head of an answer, written to out[0:n] with room up to `cap`, says about the binding; `h` is
# the server's, in `buf`. Returns the new length.
cdef size_t stick_answer(Exchange e, const ResponseHead* h, const char* buf, char* out, size_t n, size_t cap) noexcept
