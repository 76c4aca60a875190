# What one exchange has beside what its route says: lines for the two heads, its user, somebody who watches it. Most
# exchanges have none of it, and then no object either. Declared below the exchanges, which hold it.
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from fastlb.engine.buffer cimport Chunk
from fastlb.engine.throttle cimport Throttle
from fastlb.http.response_head cimport ResponseHead

# Sees a request's body and its answer go by. What it is given lives only through the call.
cdef class Observer:
    # Of the body, as framed by the request's head; `whole` with its end.
    cdef void request_body(self, const char* p, size_t n, bint whole) noexcept
    # A server's final answer; `chunked` when the body that follows comes in chunks.
    cdef void answer_head(self, const ResponseHead* h, const char* buf, bint chunked) noexcept
    cdef void answer_body(self, const char* p, size_t n) noexcept
    # The exchange has ended, well or not.
    cdef void over(self, PyObject* exchange) noexcept

cdef class Extras:
    cdef:
        Chunk* request          # lines for the server's head, each with its CRLF; NULL = none
        Chunk* response         # likewise for the client's
        bytes user              # for the log; None = nobody
        Observer observer       # None = nobody
        Throttle request_rate   # of the bytes from the client; None = as fast as they come
        Throttle response_rate  # from the server
    # Adds a line to the head that servers get, or to the answer, ours or theirs. False, and nothing is added, when name
    # or value would not be one line (RFC 9110 section 5.5), or memory is out. O(line).
    cdef bint add_request(self, const char* name, size_t name_len, const char* value, size_t value_len) noexcept
    cdef bint add_response(self, const char* name, size_t name_len, const char* value, size_t value_len) noexcept
    # Adds lines that were made by line_of.
    cdef bint add_lines(self, const char* p, size_t n) noexcept
    # Adds the lines of another one to its own.
    cdef bint merge(self, Extras other) noexcept

# What an exchange has for a server's answer: tells the observer of the head `h` at `buf` and the body bytes that came
# with it, and adds the lines to the head for the client, out[0:n]; its new length or -1. `dechunk` when the chunked
# coding is taken off before the client's side.
cdef ssize_t dress_response(Extras extras, const ResponseHead* h, const char* buf, const char* body, size_t body_len,
                            bint dechunk, char* out, size_t n, size_t cap) noexcept
# The head h[0:n] with the lines before its empty line; its new length, or -1 when it does not fit into `cap`.
cdef ssize_t dress_head(const Chunk* lines, char* h, size_t n, size_t cap) noexcept
# The same where more follows the head in h[0:n]; n as it was when the lines do not fit.
cdef size_t dress_answer(const Chunk* lines, char* h, size_t n, size_t cap) noexcept
# Whether the bytes can be a field's value: no control bytes but tabs.
cdef bint plain_value(const char* p, size_t n) noexcept nogil
