"""What happens to a session of layer 4 before a server is picked.

The same rules in the same order as for a request (admission.pyx), but for those that need one: of a session only its
client's address is known, and perhaps a ClientHello.
"""

from libc.stdint cimport uint64_t
from fastlb.engine.admission cimport limit_bandwidth, take_steps, within_limits
from fastlb.engine.request_key cimport KEY_NONE, find_key
from fastlb.engine.stats cimport COUNT_CURRENT, COUNT_PEAK, count_up
from fastlb.engine.sticking cimport assign_sticky
from fastlb.engine.upstream cimport Action, Backend, Frontend


cdef void admit_session(Exchange e, const Hello* h) noexcept:
    cdef Frontend front = e.front
    cdef Action action
    cdef int route = front.sessions.match(e.core.obuf, h, e.client.peer())
    action = <Action>front.by_route[route if route >= 0 else front.default_action]
    e.action = action
    e.priority = action.priority
    if action.limits is not None and not within_limits(e, action.limits, e.core.request):
        return
    if action.steps is not None and not take_steps(e):
        return
    if action.split is not None:
        e.action = action = <Action>action.split.choose(e.core.request, NULL, e.client.peer())
    if action.backend is None:
        e.fail(404, b"PR", b"no route matches")
    else:
        enter_backend(e, action.backend)


cdef void enter_backend(Exchange e, Backend b) noexcept:
    cdef const char* key
    cdef const char* refusal
    cdef size_t key_len
    cdef uint64_t now = e.core.reactor.now_ms
    while b.guard is not None:
        refusal = b.guard.enter(now, e.priority, &e.entry)
        if refusal == NULL:
            break
        if b.fallback is None:
            e.backend = b
            count_up(b.counters, COUNT_CURRENT, COUNT_PEAK)
            e.fail(503, b"PC", refusal)
            return
        b = b.fallback                  # the configuration has no rings of them
    e.backend = b
    count_up(b.counters, COUNT_CURRENT, COUNT_PEAK)
    if b.bandwidth is not None or e.action.bandwidth is not None:
        limit_bandwidth(e, e.core.request)
    if b.key_kind != KEY_NONE:
        key = find_key(b.key_kind, NULL, 0, e.core.request, NULL, e.client.peer(), &key_len)
        if key != NULL:
            e.key = b.selector.algorithm.key_of(key, key_len)
            e.has_key = True
    if b.affinity is None:
        e.assign()
    else:
        assign_sticky(e, e.core.request)
