"""The library's face: a group of servers, an algorithm, pick and release.

Everything is decided by the same Selector that the proxy uses; this adds Python names, keys as text, and errors. A
Balancer belongs to one process. All methods may be called from several threads.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastlb._core.shared cimport SERVER_DRAIN, SERVER_UP, ServerLine
from fastlb._core.xxh3 cimport xxh3_64
from fastlb.balance.base cimport FULL_RAMP, ServerSet, tier_of
from fastlb.balance.selector cimport (
    PICK_FULL, USE_CANCELLED, USE_FAILED, USE_OK, Selector, make_selector,
)
from fastlb.balance.server cimport Server

import time

# Importing an algorithm enters it into the registry that names are looked up in.
import fastlb.balance.consistent_hash
import fastlb.balance.first
import fastlb.balance.ip_hash
import fastlb.balance.least_connections
import fastlb.balance.least_time
import fastlb.balance.random
import fastlb.balance.round_robin
import fastlb.balance.two_choices
import fastlb.balance.weighted_round_robin  # noqa: F401
from fastlb.balance.options import check_options, integer, number, policies, registry, unknown
from fastlb.balance.ring_hash import ketama_key
from fastlb.balance.slow_start import ramp, step

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    int inet_pton(int family, const char* text, void* address)

cdef dict _STATES = {"up": SERVER_UP, "down": 0, "drain": SERVER_UP | SERVER_DRAIN}
cdef dict _OWN_OPTIONS = {"max_connections": integer(1, 2**32 - 1), "slow_start": number(0.001, 86400)}
_check_weight = integer(0, 65535)
LONGEST = 4294                          # seconds whose microseconds fit 32 bits
_check_latency = number(0, LONGEST)


class NoServerAvailable(LookupError):
    """No server can take the request now. `full`: some are up, but all of those are at their limit."""

    def __init__(self, message, full=False):
        super().__init__(message)
        self.full = full


def algorithms():
    """Names that `Balancer` knows, policies in Python included, sorted."""
    return sorted([*registry, *policies])


cdef uint64_t _now_ms() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000


# No tp_clear: __dealloc__ must still find the servers to cut their short cuts. Cycles through a policy or a subclass
# of Server are broken there.
@cython.no_gc_clear
cdef class Balancer:
    """Picks a server for each use of a group.

    `algorithm` is one of `algorithms()`; `servers` are `Server` objects or addresses. Options: of the algorithm
    (`method`, `bound`, `table_size`, `points`, `hash`, `decay`, `seed`), and of every one: `panic_threshold` (0-1,
    default 0 = off: below this share of usable servers, those that are down are used too), `overprovisioning` (1-10,
    default 1.4: by how much a tier may lose servers before load spills to the next one), `max_connections` (uses of
    one server at a time, default no limit), `slow_start` (seconds in which a server that joins or comes back up
    reaches its weight and limit). Wrong names and values raise ValueError with the nearest valid one.
    """

    cdef:
        readonly str algorithm
        ServerSet _set
        Selector _selector
        list _servers           # by slot
        dict _names             # names and addresses
        dict _foreign           # id -> slot, of servers whose short cut is another balancer's
        dict _leaving           # id -> (server, address of its line): removed while in use
        dict _ramping           # server -> when its slow start began
        object _policy          # None but for an algorithm in Python
        list _offered           # what the policy chooses among
        uint32_t _offered_at    # epoch of that
        bint _special           # a pick needs more than one call
        bint _keyed
        bint _by_ip
        bint _by_ketama
        bint _timed
        uint32_t _limit
        double _window
        double _next_step
        object __weakref__

    def __cinit__(self):
        self._set = ServerSet(shared=False)
        self._servers = []
        self._names = {}
        self._foreign = {}
        self._leaving = {}
        self._ramping = {}

    def __init__(self, algorithm, servers=(), **options):
        cdef dict own = {}
        if self._selector is not None:
            raise RuntimeError("a Balancer is made once")
        if not isinstance(algorithm, str):
            raise unknown("algorithm", algorithm, algorithms())
        for name in list(options):
            if name in _OWN_OPTIONS:
                value = options.pop(name)
                if value is not None and value != 0:
                    own[name] = _OWN_OPTIONS[name](name, value)
        self._limit = own.get("max_connections", 0)
        self._window = own.get("slow_start", 0.0)
        self.algorithm = algorithm
        if algorithm in policies:
            panic = {"panic_threshold": options.pop("panic_threshold")} if "panic_threshold" in options else {}
            try:
                self._policy = policies[algorithm](**options)
            except TypeError as error:
                raise ValueError(f"options of {algorithm}: {error}") from error
            self._selector = make_selector("round_robin", panic, self._set)
        else:
            check_options(algorithm, options, _OWN_OPTIONS)
            self._selector = make_selector(algorithm, options, self._set)
        self._keyed = self._selector.algorithm.keyed
        self._timed = self._selector.algorithm.timed
        self._by_ip = algorithm == "ip_hash"
        self._by_ketama = options.get("hash") in ("ketama", "libmemcached")
        for server in servers:
            self._join(server)
        self._special = self._policy is not None or self._timed

    def __dealloc__(self):
        cdef Server server
        for server in self._servers:
            if server._owner is <void*>self:
                server._owner = NULL

    def __repr__(self):
        return f"<Balancer {self.algorithm}, {len(self._servers)} servers>"

    def __len__(self):
        return len(self._servers)

    # ---- hot

    def pick(self, key=None):
        """Picks a server and takes it: one more use in flight until `release`.

        `key` (str or bytes) is what hash algorithms go by; without one they go round robin, and other algorithms ignore
        it. NoServerAvailable when none can take it. Cost: that of the algorithm.
        """
        cdef int slot
        if self._special:
            return self._pick_special(key)
        if key is None:
            slot = self._selector.select(0, False, NULL, 0, 0)
        else:
            slot = self._selector.select(self._hash(key), True, NULL, 0, 0)
        if slot < 0:
            raise self._refusal(slot)
        return <Server>PyList_GET_ITEM(self._servers, slot)

    def release(self, Server server not None, *, ok=True, latency=None):
        """Ends one use of `server`.

        `ok` False counts a failure, None says nothing about the server; `latency` in seconds (0-4294) feeds least_time.
        ValueError when no use of it is in flight. O(1); O(log n) for least_connections.
        """
        cdef int slot = server._slot
        cdef uint32_t latency_us = 0
        cdef int use = USE_OK
        if ok is not True:
            use = USE_CANCELLED if ok is None else USE_OK if ok else USE_FAILED
        if latency is not None:
            latency_us = <uint32_t>max(_check_latency("latency", latency) * 1000000, 1.0)
        cdef ServerLine* line = server._line
        if server._owner is not <void*>self:
            slot = self._find(server)
            if slot < 0:
                self._release_leaving(server)
                return
            line = self._set.slots[slot].line
        if line.spare0 == 0:            # the ledger cell
            raise ValueError(f"{server!r} was released more often than it was picked")
        self._selector._give(
            slot, line, &line.spare0, use, latency_us, _now_ms() if latency_us and self._timed else 0
        )
        if self._policy is not None:
            self._policy.released(server, ok, latency)

    def acquire(self, key=None):
        """Context manager of one use: picks on entry, releases on exit.

        Leaving by an Exception counts as a failure, by another BaseException (cancellation) as neither; otherwise the
        time inside is the latency.
        """
        lease = Lease.__new__(Lease)
        (<Lease>lease)._balancer = self
        (<Lease>lease)._key = key
        return lease

    cdef inline uint64_t _hash(self, key) except? 1:
        cdef Py_ssize_t size
        cdef const char* text
        if isinstance(key, str):
            text = PyUnicode_AsUTF8AndSize(key, &size)
        elif isinstance(key, bytes):
            text = PyBytes_AS_STRING(key)
            size = PyBytes_GET_SIZE(key)
        else:
            raise TypeError(f"key must be str or bytes, not {type(key).__name__}")
        if not self._keyed:
            return 0
        if self._by_ip:
            return self._ip_key(text, size)
        if self._by_ketama:
            return ketama_key(text[:size])
        return xxh3_64(text, size)

    cdef uint64_t _ip_key(self, const char* text, Py_ssize_t size) noexcept:
        """Key of a client address: text of either family, or packed; anything else is hashed whole."""
        cdef uint8_t[16] packed
        if inet_pton(AF_INET, text, packed) == 1:
            return self._selector.algorithm.key_of(packed, 4)
        if inet_pton(AF_INET6, text, packed) == 1:
            return self._selector.algorithm.key_of(packed, 16)
        return self._selector.algorithm.key_of(text, size)

    cdef object _refusal(self, int slot):
        if slot == PICK_FULL:
            return NoServerAvailable("every server that is up is at its limit", full=True)
        return NoServerAvailable(f"none of {len(self._servers)} servers is up")

    cdef object _pick_special(self, key):
        """Where time counts or a policy chooses."""
        cdef int slot
        if self._ramping:
            self._advance()
        if self._policy is not None:
            return self._pick_by_policy(key)
        slot = self._selector.select(
            0 if key is None else self._hash(key), key is not None, NULL, 0, _now_ms() if self._timed else 0
        )
        if slot < 0:
            raise self._refusal(slot)
        return <Server>PyList_GET_ITEM(self._servers, slot)

    cdef object _pick_by_policy(self, key):
        cdef int slot, i
        cdef list offered
        if key is not None:
            self._hash(key)             # for its TypeError
        if self._offered is None or self._offered_at != self._set.epoch():
            self._selector.rebuild()
            self._offered = [self._servers[self._selector._view.members[i].slot]
                             for i in range(<int>self._selector._view.n)]
            self._offered_at = self._set.epoch()
        offered = self._offered
        if self._limit:
            offered = [server for server in offered if self._selector.inflight(self._find(server)) < self._limit]
        while offered:
            server = self._policy.pick(tuple(offered), key)
            if server is None:
                break
            if server not in offered:
                raise ValueError(f"{self.algorithm} picked {server!r}, which it was not offered")
            slot = self._find(server)
            if slot >= 0 and self._selector.take(slot):
                return server
            offered = [other for other in offered if other is not server]
        raise self._refusal(PICK_FULL if self._offered else 0)

    # ---- cold

    @property
    def servers(self):
        """All servers in declared order, whatever their state. O(n)."""
        return tuple(self._servers)

    def add(self, server):
        """Adds a `Server` or an address at the end and returns the Server. Picks see it at once.

        ValueError when it, its name or its address is there already. The next pick rebuilds the algorithm once, however
        many changes there were.
        """
        server = self._join(server)
        if self._window:
            self._start_slowly(server)
        return server

    def remove(self, server):
        """Takes a server out (a Server, its name or its address). Uses in flight may still be released. O(n)."""
        cdef Server each
        cdef int i, slot = self._slot(server)
        cdef ServerLine* line = self._set.slots[slot].line
        cdef Server gone = self._servers[slot]
        self._set.detach(slot)
        del self._servers[slot]
        for name in {gone.name, gone.address}:
            del self._names[name]
        self._ramping.pop(gone, None)
        self._foreign.pop(id(gone), None)
        if gone._owner is <void*>self:
            gone._owner = NULL
        if line.spare0:
            self._leaving[id(gone)] = (gone, <size_t>line)
        else:
            self._set.free_line(line)
        for i in range(slot, len(self._servers)):
            each = self._servers[i]
            if each._owner is <void*>self:
                each._slot = i
            else:
                self._foreign[id(each)] = i

    def set_weight(self, server, weight):
        """Sets the share of a server, 0-65535; 0 drains it."""
        cdef int slot = self._slot(server)
        cdef uint32_t share = _check_weight("weight", weight)
        self._set.slots[slot].line.weight = share
        (<Server>self._servers[slot])._weight = share
        self._set.touch()

    def set_state(self, server, state):
        """Sets the state of a server: "up", "down", or "drain" (keeps what it has, gets nothing new)."""
        cdef int slot = self._slot(server)
        cdef ServerLine* line = self._set.slots[slot].line
        cdef bint was_down
        if state not in _STATES:
            raise unknown("state", state, _STATES)
        was_down = not line.state & SERVER_UP
        line.state = _STATES[state]
        if was_down and self._window and state == "up":
            self._start_slowly(self._servers[slot])
        self._set.touch()

    def state(self, server):
        """State of a server: "up", "down" or "drain"."""
        cdef uint32_t now = self._set.slots[self._slot(server)].line.state
        return next(name for name, bits in _STATES.items() if bits == now)

    def in_flight(self, server):
        """Uses of a server that were picked and not released."""
        return self._set.slots[self._slot(server)].line.inflight

    cdef int _find(self, Server server) except -2:
        """Slot of a server, -1 = not in this balancer."""
        if server._owner is <void*>self:
            return server._slot
        slot = self._foreign.get(id(server))
        if slot is None:
            return -1
        if server._owner is NULL:       # its first balancer is gone: the short cut is free
            del self._foreign[id(server)]
            self._bind(server, slot)
        return slot

    cdef int _slot(self, server) except -1:
        """Slot of a server given by itself, its name or its address; ValueError naming the nearest one."""
        cdef int slot = -1
        if isinstance(server, Server):
            slot = self._find(server)
        elif isinstance(server, str) and server in self._names:
            slot = self._find(self._names[server])
        if slot < 0:
            raise unknown("server", server.name if isinstance(server, Server) else server, self._names)
        return slot

    cdef void _bind(self, Server server, int slot) noexcept:
        """Makes the server's short cut lead here."""
        server._owner = <void*>self
        server._slot = slot
        server._line = self._set.slots[slot].line

    cdef Server _join(self, thing):
        cdef Server server
        cdef ServerLine* line
        cdef int slot = len(self._servers)
        if not isinstance(thing, Server):
            thing = Server(thing)
        server = thing
        for name in (server.address, server.name):
            if name in self._names:
                raise ValueError(f"server {name!r} is there already")
        if id(server) in self._leaving:     # it comes back before its last use ended
            line = <ServerLine*><size_t>self._leaving.pop(id(server))[1]
        else:
            line = self._set.new_line()
        line.weight = server._weight
        line.limit = self._limit
        line.state = SERVER_UP
        line.ramp = FULL_RAMP
        self._set.attach(slot, line, NULL, tier_of(server.backup, server.tier))
        self._set.slots[slot].object = <void*>server
        self._set.identify(slot, server.address)
        self._servers.append(server)
        self._names[server.address] = self._names[server.name] = server
        if server._owner is NULL:
            self._bind(server, slot)
        else:
            self._foreign[id(server)] = slot
        return server

    cdef int _release_leaving(self, Server server) except -1:
        """The last uses of a server that was removed."""
        cdef ServerLine* line
        if id(server) not in self._leaving:
            if not self._servers or server.name not in self._names:
                raise unknown("server", server.name, self._names)
            raise ValueError(f"{server!r} is not the server of that name in this balancer")
        line = <ServerLine*><size_t>self._leaving[id(server)][1]
        line.spare0 -= 1
        line.inflight -= 1
        if line.spare0 == 0:
            del self._leaving[id(server)]
            self._set.free_line(line)
        return 0

    cdef int _start_slowly(self, Server server) except -1:
        self._ramping[server] = time.monotonic()
        self._next_step = 0
        self._special = True
        return self._advance()

    cdef int _advance(self) except -1:
        """Moves slow starts on, in steps."""
        cdef double now = time.monotonic()
        if now < self._next_step:
            return 0
        for server, began in list(self._ramping.items()):
            part = ramp(now - began, self._window)
            self._set.slots[self._find(server)].line.ramp = part
            if part >= FULL_RAMP:
                del self._ramping[server]
        self._next_step = now + step(self._window)
        self._special = bool(self._ramping) or self._policy is not None or self._timed
        self._set.touch()
        return 0


@cython.freelist(16)
cdef class Lease:
    """One use of a server as a context manager; see Balancer.acquire."""

    cdef:
        Balancer _balancer
        object _key
        Server _server
        double _began

    def __enter__(self):
        if self._server is not None:
            raise RuntimeError("this use has begun already")
        self._server = self._balancer.pick(self._key)
        self._began = time.monotonic()
        return self._server

    def __exit__(self, kind, error, trace):
        server, self._server = self._server, None
        if kind is None:
            self._balancer.release(server, latency=min(time.monotonic() - self._began, LONGEST))
        else:
            self._balancer.release(server, ok=False if issubclass(kind, Exception) else None)
        return False
