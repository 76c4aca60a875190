# Which server of a backend a client is bound to. Knows no exchange: sticking.pyx stands between the two.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from fastlb._core.net cimport sockaddr
from fastlb._core.sha256 cimport fl_hmac
from fastlb._core.span cimport Span
from fastlb.engine.stick_table cimport StickTable
from fastlb.http.request_head cimport RequestHead

cdef enum:
    AFFINITY_COOKIE = 1         # a cookie that the balancer gives
    AFFINITY_LEARN              # an application's cookie, in a table
    AFFINITY_TABLE              # any key of the request, in a table

# What is known of one request's binding.
ctypedef struct Sticky:
    uint64_t key                # of the table, 0 = the request has none
    Span text                   # of the key in the request's head; length 0 = the client's address
    uint32_t first              # cookie: when its life began, seconds of the wall clock
    int32_t wanted              # slot the client is bound to, -1 = none
    bint renew                  # cookie: its date or its key is old

cdef struct CookieId:
    uint8_t id[18]
    int32_t slot                # -1 = free
    uint32_t secret             # which one made it

cdef class Affinity:
    cdef:
        int kind                # AFFINITY_*
        bint rebalance          # pick another server when the client's cannot take the request; else 503
        bytes name              # of the cookie
        uint8_t key_kind        # KEY_* of request_key.pxd
        bytes key_name
        int prefix4, prefix6
        uint32_t max_idle, max_life     # seconds, 0 = off
        bint dated
        StickTable table        # None: cookies of our own need none
        # cookies
        CookieId* ids           # open addressing
        uint32_t mask
        fl_hmac* hmacs          # by secret
        list values             # by slot: the id as it stands in a cookie
        bytes before            # "Set-Cookie: NAME="
        bytes after             # attributes, line end, further lines
        bytes after_https
        # tables
        int32_t* indices        # by slot: the server's index in the region
        int32_t* slots          # by index - low
        int32_t low, high
        int count

    # Hot. The slot that the request's client is bound to, or -1; fills `s`. The result's letter for the log (HAProxy's
    # third flag) goes to `mark`. O(head).
    cdef int find(self, Sticky* s, char* mark, const RequestHead* h, const char* base, const sockaddr* client,
                  uint64_t now_ms, uint32_t wall_s) noexcept
    cdef int _read_cookie(self, Sticky* s, char* mark, const char* p, size_t n, uint32_t wall_s) noexcept
    # Hot. The lines that give the client its cookie for `slot`, to out[0:cap]; 0 when they do not fit.
    cdef size_t write_cookie(self, char* out, size_t cap, int slot, uint32_t first, uint32_t wall_s,
                             bint https) noexcept
    # Tables. The slot that the key is bound to now: `slot` when it was free.
    cdef int claim(self, uint64_t key, int slot, const char* text, size_t n, uint64_t now_ms) noexcept
    cdef void bind(self, uint64_t key, int slot, const char* text, size_t n, uint64_t now_ms) noexcept
    cdef int slot_of(self, int index) noexcept
