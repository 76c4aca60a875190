# The Date field's value, made once a second (RFC 9110 section 5.6.7).
cdef enum:
    HTTP_DATE = 29              # its length

# Hot. HTTP_DATE bytes, good until the next call. One clock read.
cdef const char* http_date() noexcept nogil
