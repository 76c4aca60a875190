"""Least connections for the weight: the smallest in flight / weight, as in nginx's least_conn.

In one process an indexed heap gives the exact answer in O(log n). Over records that other processes change no private
order can be right: up to 64 servers are scanned, above that the best of five drawn by weight is taken, which stays
within a small constant of the best (ALGORITHMS: power of d choices) at no more cost. Ties go round by weight, so an
idle group is used evenly.
"""

from libc.stdlib cimport free, malloc

from fastlb._core.atomics cimport fl_load32
from fastlb._core.bits cimport fl_before, fl_bits_of_double, fl_prefetch
from fastlb.balance.alias cimport alias_build, alias_clear, alias_draw, fresh_seed
from fastlb.balance.base cimport Member
from fastlb.balance.options import registry

cdef enum:
    SCANNED = 64                # servers that a scan may look at
    SAMPLES = 5
    STRIDE_BITS = 10            # stride of the heaviest member is 1 << this
    MEMBER_BITS = 16
    MEMBER_MASK = 0xFFFF


cdef class LeastConnections(Algorithm):
    """In flight / weight, least first; ties by weighted turns.

    One process: pick and release O(log n), exact. Several: O(n) up to 64 servers, O(1) above, and two processes may
    pick the same server at the same instant. Source: nginx ngx_http_upstream_least_conn_module.c (the comparison).
    """

    def __init__(self, dict options, bint shared):
        Algorithm.__init__(self, options, shared)
        self._shared = shared
        self.tracks = not shared
        if shared:
            self._order = WeightedRoundRobin({}, True)
            self._random = fresh_seed()

    def __dealloc__(self):
        free(self._heap)
        free(self._place)
        free(self._stride)
        alias_clear(&self._alias)

    cdef int rebuild(self, ServerSet servers, View* view) except -1:
        if self._shared:
            if view.n > SCANNED:
                alias_build(&self._alias, view)
            else:
                self._order.rebuild(servers, view)
        else:
            self._build_heap(view)
        self._equal = view.equal
        self.view = view
        return 0

    cdef int pick(self, Ask* ask) noexcept:
        # A refused best is for the selector's own search: it knows why it was refused.
        if not self._shared:
            return <int>(self._heap[0].turn & MEMBER_MASK) if ask.attempt == 0 else -1
        if self.view.n > SCANNED:
            return self._sample()
        return self._scan(ask) if ask.attempt == 0 else -1

    # ---- private lines

    cdef int _build_heap(self, View* view) except -1:
        cdef uint32_t n = view.n
        cdef uint32_t i, old = 0
        cdef uint32_t heaviest = 1
        cdef uint64_t turn
        cdef Node* heap = <Node*>malloc(n * sizeof(Node))
        cdef uint16_t* place = <uint16_t*>malloc(n * sizeof(uint16_t))
        cdef uint64_t* stride = <uint64_t*>malloc(n * sizeof(uint64_t))
        if heap is NULL or place is NULL or stride is NULL:
            free(heap)
            free(place)
            free(stride)
            raise MemoryError()
        for i in range(n):
            heaviest = max(heaviest, view.members[i].weight)
        for i in range(n):
            stride[i] = (<uint64_t>heaviest << STRIDE_BITS) // view.members[i].weight
            turn = self._now + stride[i]        # a newcomer has its turn, but none for what it missed
            # Who stays keeps its turn, or each change of a weight would begin again with the first server. Members are
            # in slot order in both views; those of removed servers are passed.
            if self.view is not NULL and old < self.view.n:
                while old < self.view.n and self.view.members[old].slot < view.members[i].slot:
                    old += 1
                if old < self.view.n and self.view.members[old].line is view.members[i].line:
                    turn = max(self._now, self._heap[self._place[old]].turn >> MEMBER_BITS)
            heap[i].turn = turn << MEMBER_BITS | i
        free(self._heap)
        free(self._place)
        free(self._stride)
        self._heap = heap
        self._place = place
        self._stride = stride
        self._equal = view.equal
        self.view = view
        for i in range(n):
            heap[i].cost = self._cost(i)
            place[i] = <uint16_t>i
        for i in range(n // 2, 0, -1):
            self._down(i - 1, heap[i - 1])
        return 0

    cdef inline uint64_t _cost(self, int member) noexcept:
        cdef Member* m = &self.view.members[member]
        # The quotient is rounded correctly, so equal ratios are equal, and it takes more than 2 million requests on
        # one server to bring two different ones together.
        return m.load if self._equal else fl_bits_of_double(<double>m.load / m.weight)

    cdef void _down(self, uint32_t at, Node node) noexcept:
        """Puts node into place `at` or below: the least children move up all the way, then the node climbs.

        What was just taken belongs near the bottom, so this needs half the comparisons of the usual way, and none of
        them a branch.
        """
        cdef Node* heap = self._heap
        cdef uint16_t* place = self._place
        cdef uint32_t n = self.view.n
        cdef uint32_t top = at
        cdef uint32_t child = 2 * at + 1
        while child < n:
            if child + 1 < n:
                child += fl_before(heap[child + 1].cost, heap[child + 1].turn, heap[child].cost, heap[child].turn)
            heap[at] = heap[child]
            place[heap[at].turn & MEMBER_MASK] = <uint16_t>at
            at = child
            child = 2 * at + 1
        self._up(at, top, node)

    cdef void _up(self, uint32_t at, uint32_t top, Node node) noexcept:
        """Puts node into place `at` or above, not above `top`."""
        cdef Node* heap = self._heap
        cdef uint32_t parent
        while at > top:
            parent = (at - 1) >> 1
            if not fl_before(node.cost, node.turn, heap[parent].cost, heap[parent].turn):
                break
            heap[at] = heap[parent]
            self._place[heap[at].turn & MEMBER_MASK] = <uint16_t>at
            at = parent
        heap[at] = node
        self._place[node.turn & MEMBER_MASK] = <uint16_t>at

    cdef void took(self, int member) noexcept:
        cdef uint32_t at = self._place[member]
        cdef uint64_t turn = self._heap[at].turn >> MEMBER_BITS
        cdef Node node
        if turn > self._now:
            self._now = turn
        node.cost = self._cost(member)
        node.turn = (self._now + self._stride[member]) << MEMBER_BITS | <uint32_t>member
        self._down(at, node)
        if node.turn >> 62:
            self._rebase()
        self._fetch_next()

    cdef inline void _fetch_next(self) noexcept:
        """In a large group the next one to be picked is out of the caches, but known."""
        cdef uint32_t member = <uint32_t>(self._heap[0].turn & MEMBER_MASK)
        cdef Member* m = &self.view.members[member]
        fl_prefetch(m.line)
        fl_prefetch(m.object)
        fl_prefetch(&self._stride[member])

    cdef void gave(self, int member) noexcept:
        cdef uint32_t at = self._place[member]
        cdef Node node = self._heap[at]
        node.cost = self._cost(member)
        self._up(at, 0, node)

    cdef void _rebase(self) noexcept:
        """Virtual time nears its end: all turns go back by what it has reached, and those before it become equal."""
        cdef uint32_t i
        cdef uint64_t turn
        for i in range(self.view.n):
            turn = max(self._heap[i].turn >> MEMBER_BITS, self._now) - self._now
            self._heap[i].turn = turn << MEMBER_BITS | (self._heap[i].turn & MEMBER_MASK)
        self._now = 0
        for i in range(self.view.n // 2, 0, -1):
            self._down(i - 1, self._heap[i - 1])

    # ---- shared lines

    cdef int _scan(self, Ask* ask) noexcept:
        cdef Member* members = self.view.members
        cdef uint32_t n = self.view.n
        cdef uint32_t i
        cdef uint32_t load, best_load
        cdef uint32_t best = self._order.pick(ask)
        i = best
        best_load = fl_load32(&members[best].line.inflight)
        for _ in range(n - 1):
            i += 1
            if i == n:
                i = 0
            load = fl_load32(&members[i].line.inflight)
            if <uint64_t>load * members[best].weight < <uint64_t>best_load * members[i].weight:
                best = i
                best_load = load
        return best

    cdef int _sample(self) noexcept:
        cdef Member* members = self.view.members
        cdef uint32_t load, best_load
        cdef int i
        cdef int best = alias_draw(&self._alias, &self._random)
        best_load = fl_load32(&members[best].line.inflight)
        for _ in range(SAMPLES - 1):
            i = alias_draw(&self._alias, &self._random)
            load = fl_load32(&members[i].line.inflight)
            if <uint64_t>load * members[best].weight < <uint64_t>best_load * members[i].weight:
                best = i
                best_load = load
        return best


registry["least_connections"] = (LeastConnections, {})
