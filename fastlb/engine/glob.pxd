# Glob matching over bytes. A byte 0 in a pattern is the star (see patterns.py). No allocation; at worst O(n * m).
from libc.stdint cimport uint32_t

# A plain path: a star does not cross '/', except the one that ends the pattern; "/*" at the end matches nothing, too.
cdef bint match_path(const char* pattern, uint32_t m, const char* text, uint32_t n) noexcept nogil
# A value, percent-decoded while it is read when `encoded` ('+' is a space then); a star is any run of bytes.
cdef bint match_value(const char* pattern, uint32_t m, const char* text, uint32_t n, bint encoded) noexcept nogil
