"""What limits the requests of a backend in the shared region, for those who watch and set it."""

from libc.stdint cimport uint32_t

from fastlb._core.atomics cimport fl_load32, fl_store32
from fastlb._core.region cimport Region


def requests(Region region not None, int group):
    """Requests that were let in and have not ended, over all workers; counted only where there is a limit."""
    return fl_load32(&region.group(group).requests)


def queued(Region region not None, int group):
    """Requests that wait for a server, over all workers."""
    return fl_load32(&region.group(group).queued)


def limit(Region region not None, int group):
    """Requests at a time that the adaptive limit allows; 0 = it has not said yet."""
    return fl_load32(&region.group(group).limit)


def set_limit(Region region not None, int group, uint32_t limit):
    """Says it; 0 = no limit."""
    fl_store32(&region.group(group).limit, limit)
