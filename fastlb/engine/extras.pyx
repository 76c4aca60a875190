"""What one exchange has beside what its route says.

Lines come from people's tokens and other servers' answers, so each is looked at here, whoever made it: what has a
control byte in it is not added. Nothing that is added at run time can end a line or begin another one.
"""

cimport cython
from libc.string cimport memcpy, memmove
from fastlb.engine.buffer cimport chunk_free, chunk_grow, chunk_new
from fastlb.http.fields cimport FRAMING_CHUNKED
from fastlb.http.scan cimport FL_TOKEN, fl_is

cdef extern from *:
    """
    #include <string.h>
    /* Where the empty line of a head begins: behind the last field's CRLF. */
    static const char* fl_empty_line(const char* h, size_t n) {
        const char* p = (const char*)memmem(h, n, "\\r\\n\\r\\n", 4);
        return p ? p + 2 : NULL;
    }
    """
    const char* fl_empty_line(const char* h, size_t n) noexcept nogil


cdef class Observer:
    """Sees a request's body and its answer go by."""

    cdef void request_body(self, const char* p, size_t n, bint whole) noexcept: pass
    cdef void answer_head(self, const ResponseHead* h, const char* buf, bint chunked) noexcept: pass
    cdef void answer_body(self, const char* p, size_t n) noexcept: pass
    cdef void over(self, PyObject* exchange) noexcept: pass


cdef bint plain_value(const char* p, size_t n) noexcept nogil:
    cdef size_t i
    cdef unsigned char c
    for i in range(n):
        c = <unsigned char>p[i]
        if (c < 0x20 and c != c'\t') or c == 0x7F:
            return False
    return True


cdef bint plain_name(const char* p, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if not fl_is(<unsigned char>p[i], FL_TOKEN):
            return False
    return n > 0


cdef Chunk* more_room(Chunk* c, size_t n) noexcept:
    """`c`, which may be NULL, with room for n bytes more; NULL when memory is out, `c` staying as it was."""
    if c == NULL:
        return chunk_new(n)
    if c.cap - c.end >= n:
        return c
    return chunk_grow(c, <size_t>c.end + n)


cdef bint append(Chunk** to, const char* p, size_t n) noexcept:
    cdef Chunk* c
    if n == 0:
        return True
    c = more_room(to[0], n)
    if c == NULL:
        return False
    memcpy(c.data + c.end, p, n)
    c.end += <uint32_t>n
    to[0] = c
    return True


cdef bint add_line(Chunk** to, const char* name, size_t name_len, const char* value, size_t value_len) noexcept:
    cdef Chunk* c
    cdef char* o
    if not plain_name(name, name_len) or not plain_value(value, value_len):
        return False
    c = more_room(to[0], name_len + value_len + 4)
    if c == NULL:
        return False
    to[0] = c
    o = c.data + c.end
    memcpy(o, name, name_len)
    memcpy(o + name_len, b": ", 2)
    memcpy(o + name_len + 2, value, value_len)
    memcpy(o + name_len + 2 + value_len, b"\r\n", 2)
    c.end += <uint32_t>(name_len + value_len + 4)
    return True


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Extras:
    """What one exchange has beside what its route says; see the module."""

    def __dealloc__(self):
        chunk_free(self.request)
        chunk_free(self.response)

    cdef bint add_request(self, const char* name, size_t name_len, const char* value, size_t value_len) noexcept:
        return add_line(&self.request, name, name_len, value, value_len)

    cdef bint add_response(self, const char* name, size_t name_len, const char* value, size_t value_len) noexcept:
        return add_line(&self.response, name, name_len, value, value_len)

    cdef bint add_lines(self, const char* p, size_t n) noexcept:
        return append(&self.request, p, n)

    cdef bint merge(self, Extras other) noexcept:
        if other.request != NULL and not append(&self.request, other.request.data, other.request.end):
            return False
        return other.response == NULL or append(&self.response, other.response.data, other.response.end)


cdef ssize_t dress_head(const Chunk* lines, char* h, size_t n, size_t cap) noexcept:
    cdef size_t size = lines.end
    if n + size > cap:
        return -1
    memcpy(h + n - 2, lines.data, size)
    memcpy(h + n - 2 + size, b"\r\n", 2)
    return <ssize_t>(n + size)


cdef ssize_t dress_response(Extras extras, const ResponseHead* h, const char* buf, const char* body, size_t body_len,
                            bint dechunk, char* out, size_t n, size_t cap) noexcept:
    if extras.observer is not None:
        extras.observer.answer_head(h, buf, h.framing == FRAMING_CHUNKED and not dechunk)
        if body_len:
            extras.observer.answer_body(body, body_len)
    return <ssize_t>n if extras.response == NULL else dress_head(extras.response, out, n, cap)


cdef size_t dress_answer(const Chunk* lines, char* h, size_t n, size_t cap) noexcept:
    cdef const char* end = fl_empty_line(h, n)
    cdef size_t at
    if end == NULL or n + lines.end > cap:
        return n
    at = <size_t>(end - h)
    memmove(h + at + lines.end, h + at, n - at)
    memcpy(h + at, lines.data, lines.end)
    return n + lines.end


def dressed(bytes answer not None, lines, *, bint request=False):
    """`answer`, a head with what follows it, with `lines` of (name, value) added as the engine does, or None when one
    of them was refused. For tests."""
    cdef Extras extras = Extras.__new__(Extras)
    cdef bytearray out = bytearray(answer) + bytearray(65536)
    cdef bytes name, value
    cdef ssize_t n
    cdef const Chunk* made
    for name, value in lines:
        if request:
            if not extras.add_request(name, len(name), value, len(value)):
                return None
        elif not extras.add_response(name, len(name), value, len(value)):
            return None
    made = extras.request if request else extras.response
    if made == NULL:
        return answer
    if request:
        n = dress_head(made, <char*>out, <size_t>len(answer), <size_t>len(out))
    else:
        n = <ssize_t>dress_answer(made, <char*>out, <size_t>len(answer), <size_t>len(out))
    return None if n < 0 else bytes(out[:n])
