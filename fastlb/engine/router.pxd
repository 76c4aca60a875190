# Which route a request takes: the first, in the order of the configuration, whose conditions all hold.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject
from fastlb._core.net cimport sockaddr
from fastlb.http.request_head cimport RequestHead

cdef enum:
    ROUTE_NONE = -1             # no route matches
    # Answer 400: the path names different things to different servers (see http/path.pyx), so that no verdict about it
    # is safe. Only where some route has a path condition.
    ROUTE_REFUSED = -2

# One (route, host pattern, path pattern). Entries with the same key stand together, in the order of their routes.
ctypedef struct Entry:
    uint32_t route
    uint32_t group              # host group
    uint32_t text               # path pattern: offset into Router.text
    uint32_t text_len
    uint16_t methods            # bit Method; 0 = any
    uint8_t kind                # patterns.PathKind
    bint more                   # the route has conditions beyond host, path and methods

# Open addressing; count 0 = free.
ctypedef struct Slot:
    uint64_t key
    uint32_t start
    uint32_t count

# Routes with the same host pattern.
ctypedef struct Group:
    uint64_t hash
    uint64_t depths             # bit d: there are keys of d path segments
    uint32_t text               # lower-case host, or suffix with its leading dot; the group of all hosts has none
    uint32_t text_len
    uint32_t first              # lowest route
    bint wildcard

# A header or query condition.
ctypedef struct Condition:
    uint32_t name, name_len     # into Router.text; headers in lower case
    uint32_t value, value_len
    uint8_t field               # FieldId of the header, FIELD_OTHER for others
    uint8_t kind                # patterns.ValueKind

# The rest of a route's conditions: slices of the tables below.
ctypedef struct RouteRest:
    uint32_t headers, headers_end
    uint32_t queries, queries_end
    uint32_t verbs, verbs_end   # methods without a Method of their own: name and name_len of Condition are used
    PyObject* source            # Networks, NULL = any client

cdef class Router:
    cdef:
        # compiled, read-only after __cinit__; owned, freed in __dealloc__
        uint32_t count          # routes
        Entry* entries
        Slot* slots
        uint64_t slot_mask
        Group* groups
        uint32_t* host_slots    # group index + 1, 0 = free
        uint64_t host_mask
        RouteRest* rest
        Condition* conditions
        char* scratch           # plain form of a path that is not plain
        bytes text_bytes        # all texts
        const char* text
        int all_hosts           # group of routes without host condition, -1 = none
        uint64_t suffix_lengths     # bit min(length, 63) of wildcard suffixes
        uint32_t max_depth
        bint uses_hosts
        bint uses_paths
        readonly tuple routes   # as given
        tuple networks          # keeps RouteRest.source alive

    # Hot. Index of the first route that matches, ROUTE_NONE or ROUTE_REFUSED. `client` is NULL for a Unix socket's
    # peer. No allocation (a path beyond 16 KB that is not in plain form excepted). Cost: a probe for each host pattern
    # that fits and each depth of path patterns it has, then the candidates with that host and path, whatever the number
    # of routes.
    cdef int match(self, const RequestHead* h, const char* buf, const sockaddr* client) noexcept
