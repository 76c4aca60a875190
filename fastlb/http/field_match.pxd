# Comparing field names and reading comma-separated lists, for whoever looks at parsed heads.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from fastlb.http.fields cimport Field

cdef inline unsigned char lower(unsigned char c) noexcept nogil:
    return <unsigned char>(c | 0x20 if c'A' <= c <= c'Z' else c)

# Lower case with '_' read as '-': a CGI or WSGI application cannot tell X_Forwarded_For from X-Forwarded-For, so what
# takes a name away from a request must take its other spelling as well.
cdef inline unsigned char fold(unsigned char c) noexcept nogil:
    return <unsigned char>(c'-' if c == c'_' else lower(c))

# `name` is lower case (folded) already.
cdef inline bint equal_lower(const char* text, const unsigned char* name, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if lower(<unsigned char>text[i]) != name[i]:
            return False
    return True

cdef inline bint equal_folded(const char* text, const unsigned char* name, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if fold(<unsigned char>text[i]) != name[i]:
            return False
    return True

# A set of names outside the well-known ones; the texts belong to whoever made it.
ctypedef struct NameList:
    uint32_t count
    uint64_t lengths            # bit min(length, 63) is set when a name of that length is listed
    const unsigned char* text   # the names, lower case or folded, one after another
    const uint16_t* length      # of each

cdef inline bint may_be_listed(const NameList* names, uint32_t n) noexcept nogil:
    return (names.lengths >> (n if n < 63 else 63)) & 1

cdef bint is_listed(const NameList* names, const char* text, uint32_t n, bint folded) noexcept nogil
# `text` and `lengths` (uint16_t) must outlive the list.
cdef void set_names(NameList* into, const char* text, const char* lengths, uint32_t count) noexcept nogil

# Next member of the list buf[pos:end], trimmed; empty members are skipped (RFC 9110 section 5.6.1). False at the end.
cdef bint next_token(const char* buf, uint32_t* pos, uint32_t end, uint32_t* start, uint32_t* size) noexcept nogil
# True when a line of that FieldId from fields[0:n] lists `token` (lower case), compared without case.
cdef bint lists_token(const char* buf, const Field* fields, uint32_t n, int field_id, const char* token) noexcept nogil
