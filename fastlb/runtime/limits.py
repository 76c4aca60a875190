"""Descriptors: how many this process may open, and how many connections a worker can promise with them."""

from __future__ import annotations

import resource

# What a process needs beside connections: standard streams, loop, region, channel, logs, the resolver, files that the
# interpreter opens for an import or a traceback.
RESERVE = 64
ENOUGH = 1_048_576


def descriptor_limit(*, may_raise: bool) -> int:
    """The limit of open files, after raising the soft one to the hard one if that may be done. Workers inherit it.

    An unlimited one is taken as a million: more descriptors than that are more memory than connections are worth.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY:
        return wanted
    if may_raise and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def connections(descriptors: int, listeners: int) -> int:
    """Client connections that `descriptors` allow a worker with `listeners` listening sockets; at least 1.

    Each may need a second descriptor, for its server.
    """
    return max(1, (descriptors - RESERVE - listeners) // 2)
