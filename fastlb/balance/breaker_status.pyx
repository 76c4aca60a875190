"""Circuit breakers in the shared region, for those who watch them: what they say, and do without a request."""

import time
from typing import NamedTuple

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from fastlb._core.atomics cimport fl_load64
from fastlb._core.region cimport Region
from fastlb._core.shared cimport SERVER_OPEN, SERVER_TRIAL, BreakerLine
from fastlb.balance.circuit_breaker cimport (
    BREAKER_HALF_OPEN, BREAKER_OPEN, BreakerRules, breaker_state, breaker_tick, breaker_until, read_rules)

STATES = ("closed", "open", "half-open")
WHYS = ("", "errors", "slow", "trials")


class BreakerStatus(NamedTuple):
    """A circuit breaker, of a server or of a backend."""

    state: str                  # of STATES
    until_ms: int               # CLOCK_MONOTONIC at which the state has an end; 0 = none
    generation: int             # goes up with each change of state, modulo 65536
    opened: int                 # times
    refused: int                # requests that a backend's, or its limit, turned away
    why: str                    # what opened it last: errors | slow | trials; '' = nothing yet
    bad: int                    # how many of
    total: int                  # how many


cdef BreakerLine* line_of(Region region, str kind, int index) except NULL:
    if kind not in ("server", "group") or index < 0:
        raise ValueError(f"no circuit breaker {kind} {index}")
    return region.server_breaker(index) if kind == "server" else region.group_breaker(index)


def breaker_status(Region region not None, str kind, int index):
    """What the breaker of a 'server' or 'group' says. `index` is from an Assignment."""
    cdef BreakerLine* b = line_of(region, kind, index)
    cdef uint64_t word = fl_load64(&b.word)
    cdef uint64_t why = fl_load64(&b.why)
    return BreakerStatus(
        STATES[breaker_state(word)], breaker_until(word), word >> 2 & 0xffff, fl_load64(&b.opened),
        fl_load64(&b.refused), WHYS[why & 3], why >> 2 & 0x7fffffff, why >> 33,
    )


def tick_breaker(Region region not None, str kind, int index, rules):
    """Does what is due to a breaker; a server's flags are made to say what it says.

    A worker writes these after the change itself; one that was killed in between has not. An open breaker is left to
    the request that finds its time over.
    """
    cdef BreakerRules r
    cdef BreakerLine* b = line_of(region, kind, index)
    cdef uint64_t word = fl_load64(&b.word)
    cdef uint32_t want = 0
    read_rules(&r, rules)
    if breaker_state(word) == BREAKER_HALF_OPEN:
        breaker_tick(b, &r, <uint64_t>(time.monotonic() * 1000))
        word = fl_load64(&b.word)
    if kind != "server":
        return
    if breaker_state(word) == BREAKER_OPEN:
        want = SERVER_OPEN
    elif breaker_state(word) == BREAKER_HALF_OPEN:
        want = SERVER_TRIAL
    if region.state(index) & (SERVER_OPEN | SERVER_TRIAL) != want:
        region.change_state(index, set=want, clear=(SERVER_OPEN | SERVER_TRIAL) & ~want)


def reset_breaker(Region region not None, str kind, int index):
    """Closes a breaker and forgets what it counted. For one that no worker uses any more."""
    memset(line_of(region, kind, index), 0, sizeof(BreakerLine))
    if kind == "server":
        region.change_state(index, clear=SERVER_OPEN | SERVER_TRIAL)
