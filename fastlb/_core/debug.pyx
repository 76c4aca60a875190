"""Debug switch and live-object counters of the engine."""

from libc.stdint cimport int64_t

cdef int64_t _live[LIVE_KINDS]
_NAMES = ("client", "upstream", "exchange", "buffer", "listener", "timer")


cdef int64_t* live_counters() noexcept nogil:
    return _live


def debug_build() -> bool:
    """True when the extensions were compiled with FASTLB_DEBUG=1."""
    return FASTLB_DEBUG != 0


def live_objects() -> dict:
    """Engine objects alive now by kind; all zero in a release build, which does not count."""
    return {name: _live[i] for i, name in enumerate(_NAMES)}
