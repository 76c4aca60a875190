# Small writers: each puts something at `o`, where there is room, and returns the place behind it.
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, strlen

cdef inline char* put(char* o, const char* text, size_t n) noexcept nogil:
    memcpy(o, text, n)
    return o + n

# For literals: their length is a constant after inlining.
cdef inline char* put_text(char* o, const char* text) noexcept nogil:
    return put(o, text, strlen(text))

cdef inline char* put_number(char* o, uint32_t value) noexcept nogil:
    cdef char digits[10]
    cdef int i = 10
    while True:
        i -= 1
        digits[i] = <char>(c'0' + value % 10)
        value //= 10
        if value == 0:
            return put(o, digits + i, 10 - i)
