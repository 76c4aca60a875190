"""What happens to a request before a server is picked.

`start_exchange` copies the head aside, finds the route, asks the rate limits, answers what is answered here, and hands
the exchange to its backend (`Exchange.assign`). Free functions: the exchange holds the facts, and knows nothing of who
fills them in.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, memset
from fastlb.engine.buffer cimport Chunk, chunk_new
from fastlb.engine.capture cimport Captured, request_fault
from fastlb.engine.core cimport HEAD_OUT, Core
from fastlb.engine.extras cimport Extras
from fastlb.engine.networks cimport ADDRESS_TEXT, format_address
from fastlb.engine.rate_limit cimport RateLimits, RateVerdict
from fastlb.engine.reactor cimport Reactor
from fastlb.engine.request_key cimport KEY_NONE, find_key, first_field
from fastlb.engine.router cimport ROUTE_REFUSED
from fastlb.engine.rules cimport https_redirect_status, write_https_redirect
from fastlb.engine.sticking cimport assign_sticky
from fastlb.engine.stats cimport COUNT_CURRENT, COUNT_DENIED, COUNT_INTERCEPTED, COUNT_PEAK, count_up
from fastlb.engine.step cimport STEP_PASS, Step
from fastlb.engine.upstream cimport Action, Backend, Frontend
from fastlb.engine.tls_context cimport TlsLayer
from fastlb.http.canned cimport wants_json
from fastlb.http.fields cimport FIELD_ACCEPT, FIELD_REFERER, FIELD_USER_AGENT
from fastlb.http.identity cimport find_trace, make_request_id, tell_trace
from fastlb.http.request_head cimport METHOD_CONNECT, METHOD_HEAD, RequestHead
from fastlb.http.rewrite cimport incoming_request_id, upgrade_forwarded
from fastlb._core.span cimport Span


cdef enum:
    CHALLENGE_MAX = 512         # bytes of the path


cdef void start_exchange(Exchange e, ClientSide client, const char* buf, uint32_t head_len, size_t body_len,
                         bint request_done) noexcept:
    cdef Core core = e.core
    cdef Frontend front = e.front
    cdef RequestHead* h = core.request
    cdef Span accept
    cdef Chunk* saved
    e.client = client
    e.head_us = core.reactor.now_us
    e.request_done = request_done
    e.method = h.method
    e.minor = h.minor
    e.framing = h.framing
    e.keep_alive = h.keep_alive
    e.upgrade = h.upgrade and upgrade_forwarded(buf, h)
    e.line = h.line
    e.host = h.host
    e.user_agent = first_field(h, FIELD_USER_AGENT)
    e.referer = first_field(h, FIELD_REFERER)
    accept = first_field(h, FIELD_ACCEPT)
    if accept.len:
        e.wants_json = wants_json(buf + accept.off, accept.len)
    e.bytes_in = head_len + body_len
    set_client(e, client)
    if front.traces:
        find_trace(&e.trace, h, buf, e.request_id, front.trace_share)
    front.counters[COUNT_CURRENT] += 1
    saved = chunk_new(head_len + body_len)
    if saved == NULL:
        e.fail(503, b"RC", b"out of memory")
        return
    memcpy(saved.data, buf, head_len + body_len)
    saved.end = <uint32_t>(head_len + body_len)
    e.saved = saved
    e.head_len = head_len
    e.body_len = <uint32_t>body_len
    core.request_base = saved.data
    if e.method == METHOD_CONNECT:
        e.fail(405, b"PR", b"CONNECT is not offered")
    elif h.content_length > front.max_body and front.max_body:
        e.fail(413, b"PR", b"request body longer than limits.body")
    elif front.challenges is not None and answer_challenge(e, h):
        pass
    elif front.redirect_https and not client.https():
        answer_here(e, None)
    else:
        find_route(e, h)


cdef bint answer_challenge(Exchange e, RequestHead* h) noexcept:
    """Answers an ACME server that looks for what proves a name (RFC 8555 section 8.3); false = no such request."""
    cdef bytes path
    if h.path.len > CHALLENGE_MAX:
        return False
    try:
        path = (e.saved.data + h.path.off)[:h.path.len]
        action = e.front.challenges.get(path)
    except Exception:
        return False
    if action is None:
        return False
    answer_here(e, <Action>action)
    return True


cdef void set_client(Exchange e, ClientSide client) noexcept:
    """Notes who the client is, for the log and the head that goes on."""
    e.client_len = format_address(client.peer(), e.client_text)
    e.client_port = client.peer_port()
    e.https = client.https()
    if e.https:
        e.tls = <TlsLayer>client.layer
    make_request_id(e.request_id)


cdef void find_route(Exchange e, RequestHead* h) noexcept:
    cdef Frontend front = e.front
    cdef Action action
    cdef int route = front.router.match(h, e.saved.data, e.client.peer())
    if route == ROUTE_REFUSED:
        e.fail(400, b"PR", b"the path names different things to different servers")
        return
    action = <Action>front.by_route[route if route >= 0 else front.default_action]
    if action.secure is not None and e.https:
        action = action.secure
    e.action = action
    e.priority = action.priority
    if action.limits is not None and not within_limits(e, action.limits, h):
        return
    if action.steps is None or take_steps(e):
        go_on(e, h)


cdef bint within_limits(Exchange e, RateLimits limits, RequestHead* h) noexcept:
    cdef RateVerdict v
    cdef bint ok = limits.admit(h, e.saved.data if e.saved != NULL else NULL, e.client.peer(), e.core.reactor.now_us,
                                &e.holds, &v)
    if v.dry:
        e.note = b"rate limit (dry run)"
    if limits.told and v.limit:
        limits.tell(e.extra(), &v)
    if ok:
        return True
    e.front.counters[COUNT_DENIED] += 1
    e.retry_after = v.retry_after_s
    e.fail(429, b"PR", b"rate limit")
    return False


cdef bint take_steps(Exchange e) noexcept:
    cdef list steps = e.action.steps
    cdef Step step
    while e.step < len(steps):
        step = <Step>steps[e.step]
        e.step += 1
        if step.ask(<PyObject*>e) != STEP_PASS:
            return False
    return True


cdef void park(Exchange e, Step step, uint32_t ms) noexcept:
    e.parked = step
    e.client.wait_until(e.core.reactor.now_ms + ms)


cdef void resume(Exchange e) noexcept:
    e.parked = None
    e.client.wait_until(0)
    if not e.load_head():
        e.fail(500, b"IR", b"saved request does not parse")
    elif take_steps(e):
        go_on(e, e.core.request)


cdef void go_on(Exchange e, RequestHead* h) noexcept:
    """Nothing stands against the request: to its backend, or answered here."""
    cdef Action action = e.action
    if action.split is not None:
        e.action = action = <Action>action.split.choose(h, e.saved.data, e.client.peer())
    if action.backend is not None:
        enter_backend(e, action.backend, h)
    elif action.redirect is None and action.respond is None:
        e.fail(404, b"PR", b"no route matches")
    else:
        answer_here(e, action)


cdef void enter_backend(Exchange e, Backend b, RequestHead* h) noexcept:
    """Hands the exchange to a backend, with the key of its algorithm."""
    cdef Frontend front = e.front
    cdef const char* key
    cdef const char* refusal
    cdef size_t key_len
    if front.trust is not None and e.action.request_plan is not None:
        e.incoming_id = incoming_request_id(h, e.action.request_plan, front.trust.contains(e.client.peer()))
    e.backend = b
    count_up(b.counters, COUNT_CURRENT, COUNT_PEAK)
    if b.guard is not None:
        refusal = b.guard.enter(e.core.reactor.now_ms, e.priority, &e.entry)
        if refusal != NULL:
            if turned_away(e, b, h):
                return
            e.retry_after = b.guard.retry_after(e.core.reactor.now_ms)
            e.fail(503, b"PC", refusal)
            return
    if b.bandwidth is not None or e.action.bandwidth is not None:
        limit_bandwidth(e, h)
    if b.key_kind != KEY_NONE:
        key = find_key(b.key_kind, b.key_name, len(b.key_name), h, e.saved.data, e.client.peer(), &key_len)
        if key != NULL:
            e.key = b.selector.algorithm.key_of(key, key_len)
            e.has_key = True
    if b.affinity is None:
        e.assign()
    else:
        assign_sticky(e, h)


cdef void limit_bandwidth(Exchange e, RequestHead* h) noexcept:
    cdef Extras extras = e.extra()
    cdef const char* base = e.saved.data if e.saved != NULL else NULL
    if e.action.bandwidth is not None:
        e.action.bandwidth.impose(extras, e.core.reactor, e.front.counters, h, base, e.client.peer())
    if e.backend.bandwidth is not None:
        e.backend.bandwidth.impose(extras, e.core.reactor, e.front.counters, h, base, e.client.peer())
    if extras.request_rate is not None and e.body_len:
        extras.request_rate.spend(e.body_len)


cdef bint turned_away(Exchange e, Backend b, RequestHead* h) noexcept:
    """What the guard of a backend does not let in: another backend takes it, or it gets an answer of its own. True when
    that was done."""
    cdef Core core = e.core
    cdef ForwardInfo info
    cdef ssize_t n
    cdef bint close = not e.keep_alive or not e.request_done or e.leaving()
    if b.fallback is not None:
        b.counters[COUNT_CURRENT] -= 1
        enter_backend(e, b.fallback, h)
        return True
    if b.overload is None:
        return False
    fill_info(e, &info)
    n = b.overload.write(core.obuf, HEAD_OUT, e.saved.data, core.request, &info, close, e.method == METHOD_HEAD)
    if n < 0:
        return False
    e.status = b.overload.status
    e.reason = b"too many requests: answered in place of the backend"
    memcpy(e.term, b"PC", 2)
    e.answer(<size_t>n, close)
    return True


cdef void refuse_exchange(Exchange e, ClientSide client, const char* p, size_t n, int status, const char* term,
                          const char* reason) noexcept:
    cdef Chunk* saved
    cdef const RequestHead* h = e.core.request
    e.client = client
    set_client(e, client)
    e.bytes_in = n
    e.front.counters[COUNT_CURRENT] += 1
    if status != 400 and status != 408 and h.line.len and h.line.off + h.line.len <= n:
        # The line is sound and the refusal is about its size or what follows: log it.
        saved = chunk_new(h.line.len + 1)
        if saved != NULL:
            memcpy(saved.data, p + h.line.off, h.line.len)
            e.line.len = h.line.len
            e.saved = saved
    e.fail(status, term, reason)


cdef void capture_request(ClientSide client, const char* p, size_t n, size_t at, int64_t before, bint body, int status,
                          const char* reason) noexcept:
    cdef Frontend front = client.front
    cdef Captured kept = front.captured
    cdef Reactor r = client.core.reactor
    cdef char text[ADDRESS_TEXT]
    if not kept.wanted(r.now_ms):
        return
    if not body:
        at = request_fault(p, n, &front.limits)
    kept.keep(p, n, at, before, body, reason, <int64_t>r.now_us + r.wall_offset_us)
    kept.about(front.name, None, text, format_address(client.peer(), text), client.peer_port(), status)


cdef void fill_info(Exchange e, ForwardInfo* info) noexcept:
    cdef ClientSide c = e.client
    memset(info, 0, sizeof(info[0]))
    info.client = e.client_text
    info.client_len = e.client_len
    info.request_id = e.request_id
    info.request_id_len = 32
    if e.front.traces:
        tell_trace(info, &e.trace, e.saved.data, e.request_id, e.front.spans and e.trace.sampled)
    if c is None:
        return
    info.client_port = c.peer_port()
    info.port = c.local_port()
    info.https = c.https()
    if e.front.trust is not None:
        info.trusted = e.front.trust.contains(c.peer())
    if e.front.asks_clients and c.layer is not None:
        tell_client(<TlsLayer>c.layer, info)


cdef void tell_client(TlsLayer layer, ForwardInfo* info) noexcept:
    cdef bytes text = layer.identity()
    info.client_cert = text
    info.client_cert_len = <uint32_t>len(text)


cdef void answer_here(Exchange e, Action action) noexcept:
    """Answers a redirect or a fixed response; None: the redirect to https."""
    cdef Core core = e.core
    cdef ForwardInfo info
    cdef ssize_t n
    cdef bint close = not e.keep_alive or not e.request_done or e.leaving()
    fill_info(e, &info)
    if action is None:
        n = write_https_redirect(core.obuf, HEAD_OUT, e.saved.data, core.request, &info, close)
        e.status = <uint16_t>https_redirect_status(e.method)
    elif action.redirect is not None:
        n = action.redirect.write(core.obuf, HEAD_OUT, e.saved.data, core.request, &info, close,
                                  e.method == METHOD_HEAD)
        e.status = action.redirect.status
    else:
        n = action.respond.write(core.obuf, HEAD_OUT, e.saved.data, core.request, &info, close,
                                 e.method == METHOD_HEAD)
        e.status = action.respond.status
    if n < 0:
        e.fail(500, b"IR", b"answer does not fit")
        return
    e.front.counters[COUNT_INTERCEPTED] += 1
    memcpy(e.term, b"LR", 2)
    e.answer(<size_t>n, close)
