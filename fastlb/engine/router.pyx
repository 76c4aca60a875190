"""Which route a request takes.

A route is found by host and path and then checked for the rest.  Each of its host patterns times each of its path
patterns is an entry; the entries with the same host pattern and the same literal head of the path (whole segments)
share a key of a hash table.  A request probes the keys it can have: its exact host, the wildcards above it and "any
host", each with the heads of its path that occur there at all.  Each key's entries are in the order of the
configuration, so the first that holds in each list is its best, and the lowest of those is the first match.

Hosts are compared in lower case, without port and trailing dot.  '*.example.com' stands for names of any depth below
example.com.  Paths are compared in plain form (http/path.pyx), methods as they are, header and query values byte by
byte, query names and values decoded; a header or parameter that comes several times matches when one of its values
does.
"""

cimport cython
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy
from fastlb._core.net cimport sockaddr_storage
from fastlb.engine.glob cimport match_path, match_value
from fastlb.engine.networks cimport Networks, fill_address
from fastlb.http.field_match cimport equal_lower, lower
from fastlb.http.fields cimport FIELD_OTHER, MAX_FIELDS, Field, HeadLimits, field_id, reason_text
from fastlb.http.path cimport path_is_plain, plain_path
from fastlb.http.request_head cimport (
    METHOD_CONNECT,
    METHOD_DELETE,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OPTIONS,
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
    METHOD_PUT,
    METHOD_TRACE,
    TARGET_ASTERISK,
    parse_request_head,
    request_head_reset,
)

from fastlb.engine.patterns import PathKind, host_pattern, path_pattern, token, value_pattern

cdef extern from *:
    """
    static inline uint64_t fl_fold(uint64_t a, uint64_t b) {
        __uint128_t product = (__uint128_t)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    #define fl_lowest(mask) ((uint32_t)__builtin_ctzll(mask))
    """
    uint64_t fl_fold(uint64_t a, uint64_t b) nogil
    uint32_t fl_lowest(uint64_t mask) nogil

cdef enum:
    SCRATCH = 16384
    HOST_MAX = 255
    DEPTHS = 63                 # deeper keys are cut to this: their patterns are compared whole anyway
    NO_ROUTE = 0x7FFFFFFF
    # patterns.PathKind and ValueKind
    PATH_ANY = 0
    PATH_EXACT = 1
    PATH_PREFIX = 2
    VALUE_PRESENT = 0
    VALUE_EXACT = 1

cdef uint64_t SEED = 0x9E3779B97F4A7C15ULL
METHODS = {
    "GET": METHOD_GET,
    "HEAD": METHOD_HEAD,
    "POST": METHOD_POST,
    "PUT": METHOD_PUT,
    "DELETE": METHOD_DELETE,
    "OPTIONS": METHOD_OPTIONS,
    "TRACE": METHOD_TRACE,
    "CONNECT": METHOD_CONNECT,
    "PATCH": METHOD_PATCH,
}


# --- hashing; keys are the configuration's, so a client cannot make them collide

cdef inline uint64_t hash_bytes(uint64_t seed, const char* p, size_t n) noexcept nogil:
    cdef uint64_t h = seed ^ n, word
    while n >= 8:
        memcpy(&word, p, 8)
        h = fl_fold(h ^ word, 0xA0761D6478BD642FULL)
        p += 8
        n -= 8
    if n:
        word = 0
        memcpy(&word, p, n)
        h = fl_fold(h ^ word, 0xE7037ED1A0B428DBULL)
    return h ^ (h >> 32)


cdef inline uint64_t key_of(uint64_t path_hash, uint32_t group) noexcept nogil:
    return fl_fold(path_hash ^ SEED, (<uint64_t>group << 1 | 1) * 0x8EBC6AF09C88C6E3ULL)


cdef uint32_t hash_heads(const char* path, uint32_t n, uint32_t limit, uint64_t* out) noexcept nogil:
    """out[d] = hash of the first d segments, for d up to the path's depth or `limit`; returns the last d."""
    cdef uint32_t i = 0, start, depth = 0
    out[0] = SEED
    while i < n and depth < limit:
        i += 1
        start = i
        while i < n and path[i] != c'/':
            i += 1
        out[depth + 1] = hash_bytes(out[depth] + 1, path + start, i - start)
        depth += 1
    return depth


# --- conditions

cdef bint any_header(const Condition* c, const char* text, const RequestHead* h, const char* buf) noexcept nogil:
    cdef uint32_t i = 0
    cdef const Field* f
    if c.field != FIELD_OTHER:
        i = h.seen[c.field]
        if i == 0:
            return False
        i -= 1
    while i < h.nfields:
        f = &h.fields[i]
        i += 1
        if f.id != c.field or f.name_len != c.name_len:
            continue
        if c.field == FIELD_OTHER and not equal_lower(buf + f.name, <const unsigned char*>text + c.name, c.name_len):
            continue
        if c.kind == VALUE_PRESENT:
            return True
        if c.kind == VALUE_EXACT:
            if f.value_len == c.value_len and memcmp(buf + f.value, text + c.value, c.value_len) == 0:
                return True
        elif match_value(text + c.value, c.value_len, buf + f.value, f.value_len, False):
            return True
    return False


cdef bint any_parameter(const Condition* c, const char* text, const char* query, uint32_t n) noexcept nogil:
    cdef uint32_t start = 0, middle, end
    while start < n:
        middle = start
        while middle < n and query[middle] != c'&' and query[middle] != c'=':
            middle += 1
        end = middle
        while end < n and query[end] != c'&':
            end += 1
        if middle > start and match_value(text + c.name, c.name_len, query + start, middle - start, True):
            if c.kind == VALUE_PRESENT:
                return True
            if middle < end:
                middle += 1
            if match_value(text + c.value, c.value_len, query + middle, end - middle, True):
                return True
        start = end + 1
    return False


cdef bint rest_holds(Router r, uint32_t route, const RequestHead* h, const char* buf,
                     const sockaddr* client) noexcept:
    """The conditions of a route beyond host, path and well-known methods."""
    cdef const RouteRest* rest = &r.rest[route]
    cdef const Condition* c
    cdef uint32_t i
    cdef bint found
    if rest.verbs != rest.verbs_end and h.method == METHOD_OTHER:
        found = False
        for i in range(rest.verbs, rest.verbs_end):
            c = &r.conditions[i]
            if c.name_len == h.verb.len and memcmp(r.text + c.name, buf + h.verb.off, c.name_len) == 0:
                found = True
                break
        if not found:
            return False
    for i in range(rest.headers, rest.headers_end):
        if not any_header(&r.conditions[i], r.text, h, buf):
            return False
    for i in range(rest.queries, rest.queries_end):
        if not any_parameter(&r.conditions[i], r.text, buf + h.query.off, h.query.len):
            return False
    return rest.source == NULL or (<Networks>rest.source).contains(client)


# --- what of a request the index needs

ctypedef struct Subject:
    char host[HOST_MAX + 1]
    uint32_t host_len           # 0: none
    uint32_t cut                # 1: these are the last bytes of a longer one
    const char* path            # plain form; NULL for '*'
    uint32_t path_len
    uint32_t depth              # heads of the path that were hashed
    uint64_t heads[DEPTHS + 1]
    char* owned                 # memory of a path beyond the scratch buffer


cdef int prepare(Router r, Subject* s, const RequestHead* h, const char* buf) noexcept:
    cdef uint32_t i, n
    cdef const char* p
    cdef char* to = r.scratch
    cdef ssize_t size
    cdef bint dots
    s.owned = NULL
    s.host_len = s.cut = s.depth = s.path_len = 0
    s.path = NULL
    s.heads[0] = SEED
    if r.uses_hosts:
        n = h.host.len
        p = buf + h.host.off
        if n and p[n - 1] == c'.':
            n -= 1
        if n > HOST_MAX:
            # longer than any pattern: what a wildcard could see is its end
            p += n - HOST_MAX
            n = HOST_MAX
            s.cut = 1
        for i in range(n):
            s.host[i] = <char>lower(<unsigned char>p[i])
        s.host_len = n
    if not r.uses_paths or h.form == TARGET_ASTERISK:
        return 0
    p = buf + h.path.off
    n = h.path.len
    if path_is_plain(p, n):
        s.path = p
        s.path_len = n
    else:
        if n >= SCRATCH:
            s.owned = to = <char*>malloc(<size_t>n + 1)
            if to == NULL:
                return ROUTE_REFUSED
        size = plain_path(p, n, to, &dots)
        if size < 0:
            return ROUTE_REFUSED
        s.path = to
        s.path_len = <uint32_t>size
    s.depth = hash_heads(s.path, s.path_len, r.max_depth, s.heads)
    return 0


cdef inline bint path_holds(const Entry* e, const char* text, const char* path, uint32_t n) noexcept nogil:
    if e.kind == PATH_ANY:
        return True
    if path == NULL:
        return False
    if e.kind == PATH_EXACT:
        return n == e.text_len and memcmp(path, text + e.text, n) == 0
    if e.kind == PATH_PREFIX:
        return (n >= e.text_len and (n == e.text_len or path[e.text_len] == c'/')
                and memcmp(path, text + e.text, e.text_len) == 0)
    return match_path(text + e.text, e.text_len, path, n)


cdef uint32_t best_of_group(Router r, uint32_t group, uint32_t best, const Subject* s, const RequestHead* h,
                            const char* buf, const sockaddr* client) noexcept:
    """The lowest matching route below `best` among those of one host pattern, else `best`."""
    cdef:
        const Group* g = &r.groups[group]
        uint64_t depths, key, at
        uint32_t i, end
        const Entry* e
    if g.first >= best:
        return best
    depths = g.depths & ((<uint64_t>2 << s.depth) - 1)
    while depths:
        key = key_of(s.heads[fl_lowest(depths)], group)
        depths &= depths - 1
        at = key & r.slot_mask
        while r.slots[at].count and r.slots[at].key != key:
            at = (at + 1) & r.slot_mask
        i = r.slots[at].start
        end = i + r.slots[at].count
        while i < end:
            e = &r.entries[i]
            i += 1
            if e.route >= best:
                break
            if (e.methods == 0 or e.methods >> h.method & 1) and e.group == group \
                    and path_holds(e, r.text, s.path, s.path_len) \
                    and (not e.more or rest_holds(r, e.route, h, buf, client)):
                best = e.route
                break
    return best


cdef int find_group(Router r, const char* host, uint32_t n, bint wildcard) noexcept nogil:
    cdef uint64_t hash = hash_bytes(SEED + wildcard, host, n)
    cdef uint64_t at = hash & r.host_mask
    cdef const Group* g
    while r.host_slots[at]:
        g = &r.groups[r.host_slots[at] - 1]
        if (g.hash == hash and g.text_len == n and g.wildcard == wildcard
                and memcmp(r.text + g.text, host, n) == 0):
            return <int>r.host_slots[at] - 1
        at = (at + 1) & r.host_mask
    return -1


cdef inline uint64_t length_bit(uint32_t n) noexcept nogil:
    return <uint64_t>1 << (n if n < 63 else 63)


@cython.final
cdef class Router:
    """Routing table of a frontend.

    routes: objects shaped like `fastlb.spec.Route`; only their conditions are read. Building is O(n log n).
    Raises ValueError for patterns that mean nothing, naming the route.
    """

    def __cinit__(self, routes=()):
        self.routes = tuple(routes)
        self.all_hosts = -1
        self.scratch = <char*>malloc(SCRATCH + 1)
        if self.scratch == NULL:
            raise MemoryError
        _Builder(self).build()

    def __dealloc__(self):
        free(self.scratch)
        free(self.entries)
        free(self.slots)
        free(self.groups)
        free(self.host_slots)
        free(self.rest)
        free(self.conditions)

    def __len__(self):
        return self.count

    cdef int match(self, const RequestHead* h, const char* buf, const sockaddr* client) noexcept:
        cdef:
            Subject s
            uint32_t best = NO_ROUTE, i
            int group
        if self.count == 0:
            return ROUTE_NONE
        if prepare(self, &s, h, buf) < 0:
            free(s.owned)
            return ROUTE_REFUSED
        if s.host_len:
            if not s.cut:
                group = find_group(self, s.host, s.host_len, False)
                if group >= 0:
                    best = best_of_group(self, <uint32_t>group, best, &s, h, buf, client)
            if self.suffix_lengths:
                for i in range(1 - s.cut, s.host_len):
                    if s.host[i] == c'.' and self.suffix_lengths & length_bit(s.host_len - i):
                        group = find_group(self, s.host + i, s.host_len - i, True)
                        if group >= 0:
                            best = best_of_group(self, <uint32_t>group, best, &s, h, buf, client)
        if self.all_hosts >= 0:
            best = best_of_group(self, <uint32_t>self.all_hosts, best, &s, h, buf, client)
        if s.owned != NULL:
            free(s.owned)
        return ROUTE_NONE if best == NO_ROUTE else <int>best

    def find(self, bytes head not None, str client="unix", *, int repeat=1):
        """Index of the route that a request takes, None when no route matches; ValueError when the request is refused.

        `head` is a whole request head, `client` an address without port or 'unix'. The same work is done `repeat`
        times, for measuring.
        """
        cdef:
            RequestHead h
            HeadLimits limits
            sockaddr_storage storage
            int found = ROUTE_NONE, _
        limits.bytes, limits.count, limits.uri = 1 << 20, MAX_FIELDS, 1 << 20
        request_head_reset(&h)
        if parse_request_head(&h, head, <uint32_t>len(head), &limits) <= 0:
            raise ValueError(f"not a request head: {reason_text(h.reason).decode()}")
        fill_address(&storage, client)
        for _ in range(repeat):
            found = self.match(&h, head, <const sockaddr*>&storage)
        if found == ROUTE_REFUSED:
            raise ValueError("the path is ambiguous")
        return None if found == ROUTE_NONE else found


# --- building (cold)

cdef class _Builder:
    """Fills the tables of one router."""

    cdef:
        Router router
        bytearray text
        dict places             # text -> offset
        dict groups             # (wildcard, text) -> index
        list entries            # (key, route, group, offset, length, methods, kind, more)
        list conditions         # (name, value, field, kind)
        list rest               # (headers, headers_end, queries, queries_end, verbs, verbs_end, Networks or None)
        list depths, firsts     # by group

    def __cinit__(self, Router router):
        self.router = router
        self.text = bytearray()
        self.places = {}
        self.groups = {}
        self.entries, self.conditions, self.rest, self.depths, self.firsts = [], [], [], [], []

    def build(self):
        for index, route in enumerate(self.router.routes):
            try:
                self.add(index, route)
            except ValueError as e:
                raise ValueError(f"route {route.name or index + 1}: {e}") from None
        self.fill()

    cdef add(self, uint32_t index, route):
        cdef uint64_t heads[DEPTHS + 1]
        cdef uint32_t depth
        cdef uint16_t methods = 0
        patterns = [path_pattern(p) for p in route.path] or [path_pattern("*")]
        hosts = [host_pattern(h) for h in route.host] or [(True, b"")]
        more = self.add_rest(route)
        for method in route.methods:
            methods |= 1 << METHODS.get(method, METHOD_OTHER)
        for host in dict.fromkeys(hosts):
            group = self.groups.setdefault(host, len(self.groups))
            if group == len(self.depths):
                self.depths.append(0)
                self.firsts.append(index)
            if host[1]:
                self.router.uses_hosts = True
            for pattern in dict.fromkeys(patterns):
                depth = hash_heads(pattern.key, <uint32_t>len(pattern.key), DEPTHS, heads)
                self.depths[group] |= <uint64_t>1 << depth
                self.router.max_depth = max(self.router.max_depth, depth)
                if pattern.kind != PathKind.ANY:
                    self.router.uses_paths = True
                self.entries.append((key_of(heads[depth], group), index, group, self.place(pattern.text),
                                     len(pattern.text), methods, int(pattern.kind), more))

    cdef add_rest(self, route):
        """Adds the route's further conditions; whether it has any."""
        bounds = [len(self.conditions)]
        for name, value in route.headers:
            raw = token(name, "field name").lower()
            kind, text = value_pattern(value)
            self.conditions.append((raw, text, field_id(raw, len(raw)), int(kind)))
        bounds.append(len(self.conditions))
        for name, value in route.query:
            kind, text = value_pattern(value)
            raw = name.encode("utf-8")
            if b"\0" in raw or not raw:
                raise ValueError("a parameter needs a name without NUL")
            self.conditions.append((raw, text, 0, int(kind)))
        bounds.append(len(self.conditions))
        verbs = [method for method in route.methods if method not in METHODS]
        for method in verbs:
            self.conditions.append((token(method, "method"), b"", 0, 0))
        bounds.append(len(self.conditions))
        source = Networks(route.source) if route.source else None
        self.rest.append((*bounds, source))
        return bool(route.headers or route.query or verbs or source is not None)

    cdef place(self, bytes text):
        at = self.places.get(text)
        if at is None:
            at = self.places[text] = len(self.text)
            self.text += text
        return at

    cdef fill(self):
        cdef:
            Router r = self.router
            uint32_t i, n
            uint64_t at
            Entry* e
            Condition* c
            Group* g
            RouteRest* rest
            Slot* slot
        self.entries.sort()
        r.count = <uint32_t>len(r.routes)
        n = <uint32_t>len(self.entries)
        r.entries = <Entry*>allocate(n, sizeof(Entry))
        r.slot_mask = table_size(n) - 1
        r.slots = <Slot*>allocate(r.slot_mask + 1, sizeof(Slot))
        slot = NULL
        for i, (key, route, group, text, length, methods, kind, more) in enumerate(self.entries):
            e = &r.entries[i]
            e.route, e.group, e.text, e.text_len = route, group, text, length
            e.methods, e.kind, e.more = methods, kind, more
            if slot == NULL or slot.key != key:
                at = key & r.slot_mask
                while r.slots[at].count:
                    at = (at + 1) & r.slot_mask
                slot = &r.slots[at]
                slot.key = key
                slot.start = i
            slot.count += 1
        n = <uint32_t>len(self.groups)
        r.groups = <Group*>allocate(n, sizeof(Group))
        r.host_mask = table_size(n) - 1
        r.host_slots = <uint32_t*>allocate(r.host_mask + 1, sizeof(uint32_t))
        for (wildcard, host), i in self.groups.items():
            g = &r.groups[i]
            g.text, g.text_len, g.wildcard = self.place(host), len(host), wildcard
            g.depths, g.first = self.depths[i], self.firsts[i]
            if not host:
                r.all_hosts = <int>i
                continue
            g.hash = hash_bytes(SEED + g.wildcard, host, g.text_len)
            if wildcard:
                r.suffix_lengths |= length_bit(g.text_len)
            at = g.hash & r.host_mask
            while r.host_slots[at]:
                at = (at + 1) & r.host_mask
            r.host_slots[at] = i + 1
        r.conditions = <Condition*>allocate(len(self.conditions), sizeof(Condition))
        for i, (name, value, field, kind) in enumerate(self.conditions):
            c = &r.conditions[i]
            c.name, c.name_len = self.place(name), len(name)
            c.value, c.value_len = self.place(value), len(value)
            c.field, c.kind = field, kind
        r.rest = <RouteRest*>allocate(len(self.rest), sizeof(RouteRest))
        keep = []
        for i, (headers, queries, verbs, end, source) in enumerate(self.rest):
            rest = &r.rest[i]
            rest.headers, rest.headers_end = headers, queries
            rest.queries, rest.queries_end = queries, verbs
            rest.verbs, rest.verbs_end = verbs, end
            if source is not None:
                keep.append(source)
                rest.source = <PyObject*>source
        r.networks = tuple(keep)
        r.text_bytes = bytes(self.text)
        r.text = r.text_bytes


cdef void* allocate(size_t count, size_t size) except NULL:
    cdef void* p = calloc(count if count else 1, size)
    if p == NULL:
        raise MemoryError
    return p


cdef uint64_t table_size(uint64_t n) noexcept:
    """A power of two that leaves half of the table free."""
    cdef uint64_t size = 4
    while size < 2 * n + 1:
        size *= 2
    return size
