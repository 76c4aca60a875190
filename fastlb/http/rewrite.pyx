"""Heads rewritten on their way through the proxy (RFC 9110 section 7.6, RFC 9112 section 3.2).

The lines that stay are copied in runs, one memcpy each, and everything of ours follows behind them.  In the common case
(origin-form target, HTTP/1.1, nothing dropped) that is one run for request line and fields, X-Forwarded-For and -Proto,
and the block of the rules.  Nothing is copied but lines the parser accepted, and nothing is inserted but texts of the
configuration, numbers, and pieces of accepted lines: a client cannot add a line of its own.
"""

cimport cython
from libc.stdint cimport uint16_t
from libc.string cimport memcmp
from fastlb._core.span cimport Span
from fastlb.http.field_match cimport equal_lower, is_listed, lists_token, may_be_listed, next_token, set_names
from fastlb.http.fields cimport *
from fastlb.http.http_date cimport HTTP_DATE, http_date
from fastlb.http.identity cimport Trace, find_trace, put_identity, tell_trace
from fastlb.http.put cimport put, put_number, put_text
from fastlb.http.request_head cimport (
    METHOD_CONNECT,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OPTIONS,
    TARGET_ABSOLUTE,
    TARGET_AUTHORITY,
    RequestHead,
    parse_request_head,
    request_head_reset,
)
from fastlb.http.response_head cimport ResponseHead, parse_response_head, response_head_reset

import array

from fastlb.http.header_rules import compile_chain
from fastlb.http.identity import request_id as new_request_id

cdef enum:
    REQUEST_EXTRA = 768         # fixed texts, numbers, a made request id: 500 bytes at most
    RESPONSE_EXTRA = 160

# Identity fields: what says who the client is. The bit masks below are by FieldId.
cdef uint32_t IDENTITY = (1u << FIELD_X_FORWARDED_FOR | 1u << FIELD_X_FORWARDED_PROTO | 1u << FIELD_X_FORWARDED_HOST
                          | 1u << FIELD_X_FORWARDED_PORT | 1u << FIELD_FORWARDED | 1u << FIELD_X_REQUEST_ID
                          | 1u << FIELD_X_FORWARDED_CLIENT_CERT)
# Of those, the ones to which a trusted sender's value is appended; the others are kept as they came.
cdef uint32_t LISTS = 1u << FIELD_X_FORWARDED_FOR | 1u << FIELD_FORWARDED | 1u << FIELD_X_FORWARDED_CLIENT_CERT
# Connection-specific fields, dropped whether Connection lists them or not and written anew where they have a meaning
# for the next hop (RFC 9110 section 7.6.1; HTTP2-Settings of RFC 7540 is part of the h2c upgrade, which is not passed).
cdef uint32_t HOP = (1u << FIELD_CONNECTION | 1u << FIELD_KEEP_ALIVE | 1u << FIELD_PROXY_CONNECTION | 1u << FIELD_TE
                     | 1u << FIELD_TRANSFER_ENCODING | 1u << FIELD_UPGRADE | 1u << FIELD_HTTP2_SETTINGS)
# Fields that `Connection: NAME` cannot take away: dropping the first three would change what the message means or where
# it ends, and a client behind a trusted proxy could hide its address by naming the identity fields.
cdef uint32_t PROTECTED = IDENTITY | 1u << FIELD_HOST | 1u << FIELD_CONTENT_LENGTH | 1u << FIELD_EXPECT

cdef const char* SLASH = b"/"

KNOWN = {
    b"host": FIELD_HOST,
    b"connection": FIELD_CONNECTION,
    b"content-length": FIELD_CONTENT_LENGTH,
    b"transfer-encoding": FIELD_TRANSFER_ENCODING,
    b"expect": FIELD_EXPECT,
    b"upgrade": FIELD_UPGRADE,
    b"keep-alive": FIELD_KEEP_ALIVE,
    b"proxy-connection": FIELD_PROXY_CONNECTION,
    b"te": FIELD_TE,
    b"trailer": FIELD_TRAILER,
    b"proxy-authenticate": FIELD_PROXY_AUTHENTICATE,
    b"proxy-authorization": FIELD_PROXY_AUTHORIZATION,
    b"x-forwarded-for": FIELD_X_FORWARDED_FOR,
    b"x-forwarded-proto": FIELD_X_FORWARDED_PROTO,
    b"x-forwarded-host": FIELD_X_FORWARDED_HOST,
    b"x-forwarded-port": FIELD_X_FORWARDED_PORT,
    b"forwarded": FIELD_FORWARDED,
    b"x-request-id": FIELD_X_REQUEST_ID,
    b"cookie": FIELD_COOKIE,
    b"set-cookie": FIELD_SET_COOKIE,
    b"user-agent": FIELD_USER_AGENT,
    b"referer": FIELD_REFERER,
    b"accept": FIELD_ACCEPT,
    b"date": FIELD_DATE,
    b"x-forwarded-client-cert": FIELD_X_FORWARDED_CLIENT_CERT,
    b"retry-after": FIELD_RETRY_AFTER,
    b"content-type": FIELD_CONTENT_TYPE,
    b"http2-settings": FIELD_HTTP2_SETTINGS,
    b"traceparent": FIELD_TRACEPARENT,
    b"authorization": FIELD_AUTHORIZATION,
    b"x-real-ip": FIELD_X_REAL_IP,
}


# --- upgrades

cdef char* put_upgrade(char* o, const char* buf, const Field* fields, uint32_t n, bint* any_protocol) noexcept nogil:
    """All offered protocols but h2c, which would make the rest of the connection something we do not read."""
    cdef uint32_t i, pos, start = 0, size = 0
    cdef const Field* f
    any_protocol[0] = False
    for i in range(n):
        f = &fields[i]
        if f.id != FIELD_UPGRADE:
            continue
        pos = f.value
        while next_token(buf, &pos, f.value + f.value_len, &start, &size):
            if size == 3 and equal_lower(buf + start, b"h2c", 3):
                continue
            o = put_text(o, b", ") if any_protocol[0] else put_text(o, b"Upgrade: ")
            o = put(o, buf + start, size)
            any_protocol[0] = True
    return put_text(o, b"\r\n") if any_protocol[0] else o


cdef bint upgrade_forwarded(const char* buf, const RequestHead* h) noexcept nogil:
    cdef uint32_t i, pos, start = 0, size = 0
    cdef const Field* f
    if not h.upgrade or h.minor == 0:
        return False
    for i in range(h.nfields):
        f = &h.fields[i]
        if f.id != FIELD_UPGRADE:
            continue
        pos = f.value
        while next_token(buf, &pos, f.value + f.value_len, &start, &size):
            if not (size == 3 and equal_lower(buf + start, b"h2c", 3)):
                return True
    return False


# --- request line

cdef inline bint line_is_canonical(const RequestHead* h) noexcept nogil:
    """The received line is what we would write: origin form, one space between the parts, HTTP/1.1."""
    return (h.form != TARGET_ABSOLUTE and h.minor == 1 and h.verb.off == h.line.off
            and h.target.off == h.verb.off + h.verb.len + 1
            and h.line.len == h.verb.len + h.target.len + 10)


cdef char* put_target(char* o, const char* buf, const RequestHead* h, PathRewriter rewriter, char* scratch) noexcept:
    """The target in origin form (RFC 9112 section 3.2.1), rewritten; NULL when it must be refused."""
    cdef uint32_t tail = h.path.off + h.path.len        # where the query with its '?' starts
    cdef uint32_t end = h.target.off + h.target.len
    cdef const char* path = buf + h.path.off
    cdef uint32_t n = h.path.len
    if h.method == METHOD_OPTIONS and tail == end and (n == 0 or (n == 1 and path[0] == c'*')):
        return put_text(o, b"*")                        # RFC 9112 section 3.2.4
    if n == 0:
        path = SLASH
        n = 1
    if rewriter is None:
        o = put(o, path, n)
    else:
        o = rewriter.write(o, path, n, scratch)
        if o == NULL or rewriter.sets_query:
            return o
    return put(o, buf + tail, end - tail)


# --- identity

cdef inline uint32_t identity_wanted(const RequestHead* h, uint32_t want, bint trusted) noexcept nogil:
    """What of the plan is written for this request: a trusted sender's single-valued fields stay as they came."""
    cdef uint32_t kept = 0
    if trusted:
        if h.seen[<int>FIELD_X_FORWARDED_PROTO]:
            kept |= 1u << FIELD_X_FORWARDED_PROTO
        if h.seen[<int>FIELD_X_FORWARDED_HOST]:
            kept |= 1u << FIELD_X_FORWARDED_HOST
        if h.seen[<int>FIELD_X_FORWARDED_PORT]:
            kept |= 1u << FIELD_X_FORWARDED_PORT
        if h.seen[<int>FIELD_X_REQUEST_ID]:
            kept |= 1u << FIELD_X_REQUEST_ID
    return want & ~kept


cdef Span incoming_request_id(const RequestHead* h, RequestPlan plan, bint trusted) noexcept:
    cdef Span none
    cdef const Field* f
    none.off = none.len = 0
    if not trusted or not plan.want & 1u << FIELD_X_REQUEST_ID or not h.seen[<int>FIELD_X_REQUEST_ID]:
        return none
    f = &h.fields[h.seen[<int>FIELD_X_REQUEST_ID] - 1]
    none.off = f.value
    none.len = f.value_len
    return none


# --- the two writers

cdef size_t request_head_bound(const RequestHead* h, RequestPlan plan, const ForwardInfo* info) noexcept:
    cdef size_t n = h.length + plan.block_len + plan.host_len + plan.default_host_len + REQUEST_EXTRA
    n += <size_t>h.authority.len * 3 + 2 * <size_t>info.client_len + info.request_id_len + info.client_cert_len
    if plan.rewriter is not None:
        n += plan.rewriter.bound(h.path.len) + h.path.len + 1      # the scratch copy is at the far end
    return n


cdef ssize_t write_request_head(char* out, size_t cap, const char* buf, const RequestHead* h, RequestPlan plan,
                                const ForwardInfo* info) noexcept:
    cdef:
        char* o = out
        const Field* f = &h.fields[0]
        const Field* last = f + h.nfields
        uint32_t drop = plan.drop[1 if info.trusted else 0]
        uint32_t run                    # start of the bytes that will be copied next
        uint32_t end = h.length - 2     # after the last field line
        uint32_t bit
        bint own_host = False
        bint any_protocol = False
        bint trailers
        uint32_t want = plan.want
        const NameList* names = &plan.names
    if h.form == TARGET_AUTHORITY or h.method == METHOD_CONNECT:
        return HEAD_REFUSED
    if cap < request_head_bound(h, plan, info):
        return HEAD_NO_ROOM
    if plan.host_len or h.form == TARGET_ABSOLUTE or not h.seen[<int>FIELD_HOST]:
        own_host = True
        drop |= 1u << FIELD_HOST
    if h.framing == FRAMING_CHUNKED:
        drop |= 1u << FIELD_CONTENT_LENGTH
    if h.minor == 0:
        # an HTTP/1.0 client cannot receive the 100 that it would bring (RFC 9110 section 10.1.1)
        drop |= 1u << FIELD_EXPECT
    if info.trace_id == NULL:
        want &= ~(1u << FIELD_TRACEPARENT)
    elif want & 1u << FIELD_TRACEPARENT:
        drop |= 1u << FIELD_TRACEPARENT
        if info.trace_begun:
            names = &plan.names_begun

    # request line and Host
    run = h.line.off
    if own_host or plan.rewriter is not None or not line_is_canonical(h):
        o = put(o, buf + h.verb.off, h.verb.len)
        o[0] = c' '
        o = put_target(o + 1, buf, h, plan.rewriter, out + cap - h.path.len - 1)
        if o == NULL:
            return HEAD_REFUSED
        o = put_text(o, b" HTTP/1.1\r\n")
        if own_host:
            o = put_text(o, b"Host: ")
            if plan.host_len:
                o = put(o, plan.host, plan.host_len)
            elif h.authority.len:
                o = put(o, buf + h.authority.off, h.authority.len)
            else:
                o = put(o, plan.default_host, plan.default_host_len)
            o = put_text(o, b"\r\n")
        run = h.line.off + h.line.len + 2

    # fields that stay, in runs
    while f < last:
        bit = 1u << f.id
        if (drop & bit
                or (f.flags & FIELD_HOP and not bit & PROTECTED)
                or (f.id == FIELD_OTHER
                    and may_be_listed(names, f.name_len)
                    and is_listed(names, buf + f.name, f.name_len, True))):
            if f.name > run:
                o = put(o, buf + run, f.name - run)
            run = f[1].name if f + 1 < last else end
        f += 1
    if end > run:
        o = put(o, buf + run, end - run)

    # framing and connection options
    if h.framing == FRAMING_CHUNKED:
        o = put_text(o, b"Transfer-Encoding: chunked\r\n")
    if h.minor != 0 and (h.seen[<int>FIELD_TE] or h.upgrade):
        trailers = h.seen[<int>FIELD_TE] != 0 and lists_token(buf, h.fields, h.nfields, FIELD_TE, b"trailers")
        if h.upgrade:
            o = put_upgrade(o, buf, h.fields, h.nfields, &any_protocol)
        if any_protocol:
            o = put_text(o, b"Connection: Upgrade, TE\r\n") if trailers else put_text(o, b"Connection: Upgrade\r\n")
        elif trailers:
            o = put_text(o, b"Connection: TE\r\n")      # a sender of TE must list it, RFC 9110 section 10.1.4
        if trailers:
            o = put_text(o, b"TE: trailers\r\n")

    want = identity_wanted(h, want, info.trusted)
    if want:
        o = put_identity(o, buf, h, want, info)
    if plan.block_len:
        o = put(o, plan.block, plan.block_len)
    o = put_text(o, b"\r\n")
    return o - out


cdef size_t response_head_bound(const ResponseHead* h, ResponsePlan plan) noexcept:
    return <size_t>h.length + plan.block_len + RESPONSE_EXTRA


cdef ssize_t write_response_head(char* out, size_t cap, const char* buf, const ResponseHead* h, ResponsePlan plan,
                                 const ResponseInfo* info) noexcept:
    cdef:
        char* o = out
        const Field* f = &h.fields[0]
        const Field* last = f + h.nfields
        uint32_t drop = HOP
        uint32_t run = 0
        uint32_t end = h.length - 2
        uint32_t bit
        bint ruled = h.status >= 200 or h.status == 101         # rules are for answers, not for interim ones
        bint upgrade = (info.upgrade and h.status == 101) or (h.status == 426 and info.client_minor != 0)
        bint any_protocol = False
    if cap < response_head_bound(h, plan):
        return HEAD_NO_ROOM
    if ruled:
        drop |= plan.drop
    if h.framing == FRAMING_CHUNKED:
        drop |= 1u << FIELD_CONTENT_LENGTH                      # never both, RFC 9112 section 6.3

    # status line: as received when it is the one we would write
    if not (h.minor == 1 and memcmp(buf, b"HTTP/1.1 ", 9) == 0 and h.phrase.off == 13):
        o = put_text(o, b"HTTP/1.1 ")
        o = put_number(o, h.status)
        o[0] = c' '
        o = put(o + 1, buf + h.phrase.off, h.phrase.len)
        o = put_text(o, b"\r\n")
        run = f.name if h.nfields else end

    while f < last:
        bit = 1u << f.id
        if (drop & bit
                # the parser marks a length that must not be there (204, 1xx); one that frames the body stays
                or (f.flags & FIELD_HOP and not (f.id == FIELD_CONTENT_LENGTH and h.framing == FRAMING_LENGTH))
                or (f.id == FIELD_OTHER and ruled and may_be_listed(&plan.names, f.name_len)
                    and is_listed(&plan.names, buf + f.name, f.name_len, False))):
            if f.name > run:
                o = put(o, buf + run, f.name - run)
            run = f[1].name if f + 1 < last else end
        f += 1
    if end > run:
        o = put(o, buf + run, end - run)

    if h.framing == FRAMING_CHUNKED and not info.dechunk and info.client_minor != 0:
        o = put_text(o, b"Transfer-Encoding: chunked\r\n")
    if upgrade and h.seen[<int>FIELD_UPGRADE]:
        o = put_upgrade(o, buf, h.fields, h.nfields, &any_protocol)
    if h.status >= 200 or h.status == 101:
        if any_protocol:
            if info.close and h.status != 101:
                o = put_text(o, b"Connection: Upgrade, close\r\n")
            else:
                o = put_text(o, b"Connection: Upgrade\r\n")
        elif info.close:
            o = put_text(o, b"Connection: close\r\n")
        elif info.keep_alive_10:
            o = put_text(o, b"Connection: keep-alive\r\n")
    if h.status >= 200 and not h.seen[<int>FIELD_DATE] and not plan.dated:
        # RFC 9110 section 6.6.1: whoever forwards an answer without Date adds one
        o = put_text(o, b"Date: ")
        o = put(o, http_date(), HTTP_DATE)
        o = put_text(o, b"\r\n")
    if ruled and plan.block_len:
        o = put(o, plan.block, plan.block_len)
    o = put_text(o, b"\r\n")
    return o - out


# --- plans (cold)

cdef tuple pack_names(names):
    """Names as the two arrays of a NameList."""
    sizes = array.array("H", [len(name) for name in names])
    return b"".join(names), sizes.tobytes()


cdef tuple split_names(drop, bint folded):
    """(mask of FieldIds, further names): a name with an id is found by it, the others by comparing. Requests compare
    '_' as '-', so there a known name with a '-' is also listed for its other spelling."""
    mask = 0
    names = {}
    for name in drop:
        if folded:
            name = name.replace(b"_", b"-")
        if name in KNOWN:
            mask |= 1 << KNOWN[name]
        if name not in KNOWN or (folded and b"-" in name):
            names[name] = None
    return mask, list(names)


@cython.final
cdef class RequestPlan:
    """What happens to every request head of one (frontend, route, backend).

    rules: chain of `HeaderRules` (or triples remove, set, add) in the order frontend, route, backend.
    forwarded: a `Forwarded`, or None for none of its fields. A rule that removes or sets one of them wins.
    rewrite: a `PathRewrite`, or None.
    default_host: Host for HTTP/1.0 requests that name none.
    Raises ValueError for rules that no proxy may carry out (framing fields, control characters).
    """

    def __cinit__(self, rules=(), forwarded=None, rewrite=None, default_host=""):
        compiled = compile_chain(rules, request=True)
        mask, names = split_names(compiled.drop, True)
        names_text, names_sizes = pack_names(names)
        wanted = 0
        for attribute, field_id in (
            ("x_forwarded_for", FIELD_X_FORWARDED_FOR),
            ("x_forwarded_proto", FIELD_X_FORWARDED_PROTO),
            ("x_forwarded_host", FIELD_X_FORWARDED_HOST),
            ("x_forwarded_port", FIELD_X_FORWARDED_PORT),
            ("forwarded", FIELD_FORWARDED),
            ("x_request_id", FIELD_X_REQUEST_ID),
            ("traceparent", FIELD_TRACEPARENT),
            ("x_forwarded_client_cert", FIELD_X_FORWARDED_CLIENT_CERT),
        ):
            if forwarded is not None and getattr(forwarded, attribute, False) and not mask >> field_id & 1:
                wanted |= 1 << field_id
        self.want = wanted
        self.drop[0] = HOP | mask | IDENTITY
        self.drop[1] = HOP | mask | (wanted & LISTS)
        fallback = default_host.encode() if isinstance(default_host, str) else bytes(default_host)
        keep = [compiled.block, compiled.host, fallback, names_text, names_sizes]
        self.block, self.block_len = <const char*>keep[0], <uint32_t>len(keep[0])
        self.host, self.host_len = <const char*>keep[1], <uint32_t>len(keep[1])
        self.default_host, self.default_host_len = <const char*>keep[2], <uint32_t>len(keep[2])
        set_names(&self.names, <const char*>keep[3], <const char*>keep[4], <uint32_t>len(names))
        names.append(b"tracestate")
        keep += pack_names(names)
        set_names(&self.names_begun, <const char*>keep[5], <const char*>keep[6], <uint32_t>len(names))
        self._keep = tuple(keep)
        if rewrite is not None and (rewrite.strip_prefix or rewrite.replace_prefix or rewrite.set):
            self.rewriter = PathRewriter(rewrite)

    def apply(self, bytes head not None, *, str client="", int client_port=0, bint trusted=False, bint https=False,
              int port=80, str request_id="", str trace_id="", bint spans=False,
              bint sampled=True, str client_cert="", int repeat=1):
        """The head a server would get for the client's `head`: what the engine does, for tools and tests.

        `client` is an address without port, '' for a Unix socket's. Where the plan wants a traceparent a trace goes on,
        or one begins: `trace_id`, 32 hex digits, and `sampled` are then its own; `spans` as for tell_trace. The same
        work is done `repeat` times, for measuring. `client_cert` is an element of X-Forwarded-Client-Cert.
        ValueError when the head is not a whole, acceptable request, or must be refused by this plan.
        """
        cdef:
            RequestHead h
            HeadLimits limits
            ForwardInfo info
            bytes address = client.encode("ascii")
            bytes ident = request_id.encode("ascii")
            bytes certificate = client_cert.encode()
            bytes made = (trace_id or new_request_id()).encode("ascii")
            const char* share = NULL
            Trace trace
            bytearray out
            ssize_t n = 0
            size_t cap
            int _
        limits.bytes, limits.count, limits.uri = 1 << 20, MAX_FIELDS, 1 << 20
        request_head_reset(&h)
        if parse_request_head(&h, head, <uint32_t>len(head), &limits) <= 0:
            raise ValueError(f"not a request head: {reason_text(h.reason).decode()}")
        info.client, info.client_len = address, <uint32_t>len(address)
        info.client_port, info.port = <uint16_t>client_port, <uint16_t>port
        info.trusted, info.https = trusted, https
        info.request_id, info.request_id_len = ident, <uint32_t>len(ident)
        info.trace_id = NULL
        info.client_cert, info.client_cert_len = certificate, <uint32_t>len(certificate)
        if not sampled:
            share = b"0000000000000000"
        if len(made) != 32:
            raise ValueError("a trace id has 32 hex digits")
        cap = request_head_bound(&h, self, &info)
        out = bytearray(cap)
        for _ in range(repeat):
            if self.want >> FIELD_TRACEPARENT & 1:
                find_trace(&trace, &h, head, made, share)
                tell_trace(&info, &trace, head, made, spans)
            n = write_request_head(<char*>out, cap, head, &h, self, &info)
        if n < 0:
            raise ValueError("the request is refused" if n == HEAD_REFUSED else "the head does not fit its own bound")
        return bytes(out[:n])


@cython.final
cdef class ResponsePlan:
    """What happens to every response head of one (frontend, route, backend). `rules` as in RequestPlan."""

    def __cinit__(self, rules=()):
        compiled = compile_chain(rules, request=False)
        mask, names = split_names(compiled.drop, False)
        names_text, names_sizes = pack_names(names)
        self.drop = mask
        self.dated = bool(mask >> FIELD_DATE & 1) or b"\r\ndate:" in (b"\r\n" + compiled.block).lower()
        self._keep = (compiled.block, names_text, names_sizes)
        self.block, self.block_len = <const char*>self._keep[0], <uint32_t>len(compiled.block)
        set_names(&self.names, <const char*>self._keep[1], <const char*>self._keep[2], <uint32_t>len(names))

    def apply(self, bytes head not None, *, str method="GET", int client_minor=1, bint close=False,
              bint keep_alive_10=False, bint dechunk=False, bint upgrade=False, int repeat=1):
        """The head a client would get for the server's `head`, the answer to a request of `method`; the rest is
        ResponseInfo. As RequestPlan.apply otherwise."""
        cdef:
            ResponseHead h
            HeadLimits limits
            ResponseInfo info
            bytearray out
            ssize_t n = 0
            size_t cap
            int code = METHOD_CONNECT if method == "CONNECT" else METHOD_HEAD if method == "HEAD" else METHOD_GET
        limits.bytes, limits.count, limits.uri = 1 << 20, MAX_FIELDS, 1 << 20
        response_head_reset(&h)
        if parse_response_head(&h, head, <uint32_t>len(head), &limits, code) <= 0:
            raise ValueError(f"not a response head: {reason_text(h.reason).decode()}")
        info.client_minor = <uint8_t>client_minor
        info.close, info.keep_alive_10, info.dechunk, info.upgrade = close, keep_alive_10, dechunk, upgrade
        cap = response_head_bound(&h, self)
        out = bytearray(cap)
        for _ in range(repeat):
            n = write_response_head(<char*>out, cap, head, &h, self, &info)
        if n < 0:
            raise ValueError("the head does not fit its own bound")
        return bytes(out[:n])
