"""Least connections for the weight: the smallest in flight / weight, as in nginx's least_conn.

In one process an indexed heap gives the exact answer in O(log n). Over records that other processes change no private
order can be right: up to 64 servers are scanned, above that the best of five drawn by weight is taken, which stays
within a small constant of the best (ALGORITHMS: power of d choices) at no more cost. Ties go round by weight, so an
idle group is used evenly.
"""

from libc.stdlib cimport free, malloc

from fastlb._core.atomics cimport fl_load32
from fastlb.balance.alias cimport alias_build, alias_clear, alias_draw, fresh_seed
from fastlb.balance.base cimport Member
from fastlb.balance.options import registry

cdef enum:
    SCANNED = 64                # servers that a scan may look at
    SAMPLES = 5
    STRIDE_BITS = 20            # stride of the heaviest member


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
        if not self._shared:
            # A refused best is for the selector's own search: it knows why it was refused.
            return self._heap[0].member if ask.attempt == 0 else -1
        return self._sample() if self.view.n > SCANNED else self._scan(ask)

    # ---- private lines

    cdef int _build_heap(self, View* view) except -1:
        cdef uint32_t n = view.n
        cdef uint32_t i
        cdef uint32_t heaviest = 1
        cdef int old
        cdef Node* heap = <Node*>malloc(n * sizeof(Node))
        cdef uint32_t* place = <uint32_t*>malloc(n * sizeof(uint32_t))
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
            heap[i].turn = self._now + stride[i]    # a newcomer has its turn, but none for what it missed
            heap[i].load = view.members[i].line.inflight
            heap[i].member = i
        if self.view is not NULL:
            # Who stays keeps its turn, or each change of a weight would begin again with the first server. Members are
            # in slot order in both views; a record that moved to another slot is found by walking on.
            old = 0
            for i in range(n):
                while <uint32_t>old < self.view.n and self.view.members[old].line is not view.members[i].line:
                    old += 1
                if <uint32_t>old == self.view.n:
                    break
                heap[i].turn = max(self._now, self._heap[self._place[old]].turn)
        free(self._heap)
        free(self._place)
        free(self._stride)
        self._heap = heap
        self._place = place
        self._stride = stride
        self._equal = view.equal
        self.view = view
        for i in range(n):
            place[i] = i
        for i in range(n // 2, 0, -1):
            self._down(i - 1, heap[i - 1])
        return 0

    cdef inline bint _before(self, const Node* a, const Node* b) noexcept:
        cdef uint64_t x, y
        if self._equal:
            x = a.load
            y = b.load
        else:
            x = <uint64_t>a.load * self.view.members[b.member].weight
            y = <uint64_t>b.load * self.view.members[a.member].weight
        if x != y:
            return x < y
        return a.turn < b.turn or (a.turn == b.turn and a.member < b.member)

    cdef void _down(self, uint32_t at, Node node) noexcept:
        """Puts node into place `at` or below."""
        cdef Node* heap = self._heap
        cdef uint32_t n = self.view.n
        cdef uint32_t child = 2 * at + 1
        while child < n:
            if child + 1 < n and self._before(&heap[child + 1], &heap[child]):
                child += 1
            if not self._before(&heap[child], &node):
                break
            heap[at] = heap[child]
            self._place[heap[at].member] = at
            at = child
            child = 2 * at + 1
        heap[at] = node
        self._place[node.member] = at

    cdef void _up(self, uint32_t at, Node node) noexcept:
        """Puts node into place `at` or above."""
        cdef Node* heap = self._heap
        cdef uint32_t parent
        while at:
            parent = (at - 1) >> 1
            if not self._before(&node, &heap[parent]):
                break
            heap[at] = heap[parent]
            self._place[heap[at].member] = at
            at = parent
        heap[at] = node
        self._place[node.member] = at

    cdef void took(self, int member) noexcept:
        cdef uint32_t at = self._place[member]
        cdef Node node = self._heap[at]
        node.load += 1
        if node.turn > self._now:
            self._now = node.turn
        node.turn = self._now + self._stride[member]
        self._down(at, node)
        if node.turn >> 62:
            self._rebase()

    cdef void gave(self, int member) noexcept:
        cdef uint32_t at = self._place[member]
        cdef Node node = self._heap[at]
        if node.load:
            node.load -= 1
        self._up(at, node)

    cdef void _rebase(self) noexcept:
        """Virtual time nears its end: everybody back by what all have passed. Order among the later ones is kept."""
        cdef uint32_t i
        for i in range(self.view.n):
            self._heap[i].turn = max(self._heap[i].turn, self._now) - self._now
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
