"""Glob matching over bytes.

Greedy with one step back: on a mismatch the last star takes one byte more. That is enough, because whatever an earlier
star could take in addition, the last one can take as well. It holds for paths too: their stars stay within a segment,
so the slashes of pattern and path face each other, and a segment that fails, fails for good.
"""

from fastlb.http.path cimport hex_value


cdef bint match_path(const char* pattern, uint32_t m, const char* text, uint32_t n) noexcept nogil:
    cdef uint32_t i = 0, k = 0, star = 0, taken = 0
    cdef bint starred = False
    while k < n:
        if i < m and pattern[i] == 0:
            if i + 1 == m:
                return True
            i += 1
            star = i
            taken = k
            starred = True
        elif i < m and pattern[i] == text[k]:
            i += 1
            k += 1
        elif starred and text[taken] != c'/':
            taken += 1
            k = taken
            i = star
        else:
            return False
    # what is left of the pattern must match nothing: "", a star, or the "/*" that ends it
    if i < m and pattern[i] == 0:
        i += 1
    return i == m or (m - i == 2 and pattern[i] == c'/' and pattern[i + 1] == 0)


cdef inline uint32_t read_byte(const char* text, uint32_t k, uint32_t n, bint encoded,
                               unsigned char* out) noexcept nogil:
    """The byte at k, decoded, and the place of the next one."""
    cdef int high, low
    out[0] = <unsigned char>text[k]
    if encoded:
        if out[0] == c'+':
            out[0] = c' '
        elif out[0] == c'%' and n - k > 2:
            high = hex_value(<unsigned char>text[k + 1])
            low = hex_value(<unsigned char>text[k + 2])
            if high >= 0 and low >= 0:
                out[0] = <unsigned char>(high << 4 | low)
                return k + 3
    return k + 1


cdef bint match_value(const char* pattern, uint32_t m, const char* text, uint32_t n, bint encoded) noexcept nogil:
    cdef uint32_t i = 0, k = 0, after, star = 0, taken = 0
    cdef bint starred = False
    cdef unsigned char c = 0
    while k < n:
        if i < m and pattern[i] == 0:
            if i + 1 == m:
                return True
            i += 1
            star = i
            taken = k
            starred = True
            continue
        after = read_byte(text, k, n, encoded, &c)
        if i < m and <unsigned char>pattern[i] == c:
            i += 1
            k = after
        elif starred:
            taken = read_byte(text, taken, n, encoded, &c)
            k = taken
            i = star
        else:
            return False
    if i < m and pattern[i] == 0:
        i += 1
    return i == m


def path_matches(bytes pattern not None, bytes path not None):
    """Whether a plain path matches a compiled path pattern."""
    return bool(match_path(pattern, <uint32_t>len(pattern), path, <uint32_t>len(path)))


def value_matches(bytes pattern not None, bytes value not None, bint encoded=False):
    """Whether a value matches a compiled value pattern; `encoded` reads it as a query parameter's."""
    return bool(match_value(pattern, <uint32_t>len(pattern), value, <uint32_t>len(value), encoded))
