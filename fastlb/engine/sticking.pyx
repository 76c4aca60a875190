"""Keeps clients at their servers: what affinity does to an exchange.

Before the pick the client's server is looked up and taken if it can be: it must be up, and may be draining. After the
answer's head has come from a server, that server is the client's: by a cookie in the answer, or by the table.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove
from fastlb.balance.selector cimport PICK_FULL
from fastlb.engine.affinity cimport AFFINITY_COOKIE, AFFINITY_LEARN, Affinity
from fastlb.engine.reactor cimport Reactor
from fastlb.engine.stats cimport COUNT_SELECTED
from fastlb.engine.stick_table cimport key_hash
from fastlb.engine.upstream cimport Backend
from fastlb.http.fields cimport FIELD_SET_COOKIE, Field
from fastlb.http.field_match cimport equal_lower


cdef inline uint32_t wall_seconds(Reactor r) noexcept:
    return <uint32_t>((<uint64_t>(<long long>r.now_us + r.wall_offset_us)) // 1000000)


cdef void assign_sticky(Exchange e, RequestHead* h) noexcept:
    cdef Backend b = e.backend
    cdef Affinity affinity = b.affinity
    cdef Reactor r = e.core.reactor
    cdef int got
    cdef const char* base = e.saved.data if e.saved != NULL else NULL
    cdef int slot = affinity.find(&e.sticky, &e.term[2], h, base, e.client.peer(), r.now_ms, wall_seconds(r))
    if slot >= 0:
        got = b.selector.take_slot(slot, r.now_ms)
        if got >= 0:
            e.pinned = not affinity.rebalance
            b.counters[COUNT_SELECTED] += 1
            e.attach(got)
            return
        if e.term[2] == c'V':
            e.term[2] = c'D'
        if not affinity.rebalance:
            e.fail(503, b"SC", b"the client's server is full" if got == PICK_FULL
                   else b"the client's server is not available")
            return
    e.assign()
    if e.sticky.key and slot < 0 and e.holding and affinity.kind != AFFINITY_LEARN:
        # At once, and not with the answer: further requests of the client may be on their way to other workers.
        keep(e, affinity, e.slot, False)


cdef void stick_session(Exchange e) noexcept:
    if e.sticky.key and e.sticky.wanted != e.slot:
        # Another server took over, or it was the queue's choice: the client stays there.
        keep(e, e.backend.affinity, e.slot, True)


cdef void touch_session(Exchange e) noexcept:
    if e.sticky.key:
        keep(e, e.backend.affinity, e.slot, False)


cdef void keep(Exchange e, Affinity affinity, int slot, bint move) noexcept:
    """Binds the key of the request, `move` whatever it was bound to."""
    cdef const char* text = e.client_text
    cdef size_t n = e.client_len
    if e.sticky.text.len:
        text = e.saved.data + e.sticky.text.off
        n = e.sticky.text.len
    if move:
        affinity.bind(e.sticky.key, slot, text, n, e.core.reactor.now_ms)
        e.sticky.wanted = slot
    else:
        e.sticky.wanted = affinity.claim(e.sticky.key, slot, text, n, e.core.reactor.now_ms)


cdef size_t stick_answer(Exchange e, const ResponseHead* h, const char* buf, char* out, size_t n, size_t cap) noexcept:
    cdef Affinity affinity = e.backend.affinity
    cdef Reactor r = e.core.reactor
    cdef bint fresh = e.sticky.wanted != e.slot
    cdef size_t more
    if affinity.kind == AFFINITY_COOKIE:
        e.term[3] = c'N'
        if h.seen[<int>FIELD_SET_COOKIE]:
            n = without_cookie(out, n, affinity.name)
        if not fresh and not e.sticky.renew:
            return n
        more = affinity.write_cookie(out + n - 2, cap - n, e.slot, 0 if fresh else e.sticky.first, wall_seconds(r),
                                     e.https)
        if more == 0:
            return n
        e.term[3] = c'I' if fresh else c'U'
        n += more
        memcpy(out + n - 2, b"\r\n", 2)
        return n
    if affinity.kind == AFFINITY_LEARN:
        e.term[3] = c'N'
        if h.seen[<int>FIELD_SET_COOKIE]:
            learn(e, affinity, h, buf)
    if fresh and e.sticky.key:
        # Another server took over: the client's session moves with it.
        keep(e, affinity, e.slot, True)
    return n


cdef void learn(Exchange e, Affinity affinity, const ResponseHead* h, const char* buf) noexcept:
    """Binds the value that an application gives its cookie to the server it runs on."""
    cdef size_t name_len = <size_t>len(affinity.name)
    cdef const char* name = affinity.name
    cdef const char* p
    cdef const Field* f
    cdef uint32_t i, n
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.id != FIELD_SET_COOKIE or f.value_len <= name_len:
            continue
        p = buf + f.value
        if memcmp(p, name, name_len) != 0 or p[name_len] != c'=':
            continue
        p += name_len + 1
        n = 0
        while p + n < buf + f.value + f.value_len and p[n] != c';':
            n += 1
        while n and (p[n - 1] == c' ' or p[n - 1] == c'\t'):
            n -= 1
        if n:
            affinity.bind(key_hash(p, n), e.slot, p, n, e.core.reactor.now_ms)
            e.term[3] = c'P'


cdef size_t without_cookie(char* out, size_t n, bytes name) noexcept:
    """Takes Set-Cookie lines of our cookie's name out of a written head: only the balancer gives it."""
    cdef size_t name_len = <size_t>len(name)
    cdef const char* wanted = name
    cdef size_t at = 0, end, value
    while at + 2 < n:
        end = at
        while end + 1 < n and not (out[end] == c'\r' and out[end + 1] == c'\n'):
            end += 1
        end += 2
        value = at + 11
        if value + name_len < end and equal_lower(out + at, <const unsigned char*>b"set-cookie:", 11):
            while out[value] == c' ' or out[value] == c'\t':
                value += 1
            if value + name_len < end and out[value + name_len] == c'=' and memcmp(out + value, wanted, name_len) == 0:
                memmove(out + at, out + end, n - end)
                n -= end - at
                continue
        at = end
    return n
