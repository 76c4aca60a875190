# Answers that fastlb gives itself: complete HTTP/1.1 messages, small, without a Date.
from libc.stdint cimport uint32_t

cdef enum:
    CANNED_MAX = 1536           # no answer is longer, whatever the reason

# Writes head and body, and returns their length; 0 when `cap` is too small (CANNED_MAX is always enough). `reason` (or
# NULL) is one plain sentence for the reader; `retry_after` in seconds, 0 for none. No body with 1xx, 204 and 304.
cdef size_t write_canned(char* out, size_t cap, int status, bint json, const char* reason, bint close,
                         uint32_t retry_after) noexcept nogil
# Length of the head within a message of write_canned: all of it that an answer to HEAD sends.
cdef size_t canned_head(const char* message, size_t n) noexcept nogil
# Reason phrase of a status (RFC 9110 section 15), "Unknown" where there is none. Never NULL.
cdef const char* status_phrase(int status) noexcept nogil
# True when an Accept value prefers JSON to HTML (RFC 9110 section 12.5.1). HTML where it does not care.
cdef bint wants_json(const char* accept, size_t n) noexcept nogil
