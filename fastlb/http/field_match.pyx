"""Comparing field names and reading comma-separated lists."""

from libc.string cimport strlen


cdef bint is_listed(const NameList* names, const char* text, uint32_t n, bint folded) noexcept nogil:
    cdef uint32_t i
    cdef const unsigned char* name = names.text
    for i in range(names.count):
        if names.length[i] == n and (equal_folded(text, name, n) if folded else equal_lower(text, name, n)):
            return True
        name += names.length[i]
    return False


cdef void set_names(NameList* into, const char* text, const char* lengths, uint32_t count) noexcept nogil:
    cdef uint32_t i
    into.count = count
    into.text = <const unsigned char*>text
    into.length = <const uint16_t*>lengths
    into.lengths = 0
    for i in range(count):
        into.lengths |= <uint64_t>1 << (into.length[i] if into.length[i] < 63 else 63)


cdef bint next_token(const char* buf, uint32_t* pos, uint32_t end, uint32_t* start, uint32_t* size) noexcept nogil:
    cdef uint32_t p = pos[0], stop
    while p < end and (buf[p] == c',' or buf[p] == c' ' or buf[p] == c'\t'):
        p += 1
    if p >= end:
        return False
    start[0] = p
    while p < end and buf[p] != c',':
        p += 1
    pos[0] = p
    stop = p
    while buf[stop - 1] == c' ' or buf[stop - 1] == c'\t':
        stop -= 1
    size[0] = stop - start[0]
    return True


cdef bint lists_token(const char* buf, const Field* fields, uint32_t n, int field_id, const char* token) noexcept nogil:
    cdef:
        uint32_t i, pos, start = 0, size = 0
        uint32_t wanted = <uint32_t>strlen(token)
        const Field* f
    for i in range(n):
        f = &fields[i]
        if f.id != field_id:
            continue
        pos = f.value
        while next_token(buf, &pos, f.value + f.value_len, &start, &size):
            if size == wanted and equal_lower(buf + start, <const unsigned char*>token, size):
                return True
    return False
