"""Turns what a Spec says of a backend's protection into the engine's Guard."""

from fastlb._core.region cimport Region
from fastlb.balance.base cimport ServerSet
from fastlb.balance.circuit_breaker cimport GroupBreaker, ServerBreakers, read_rules
from fastlb.engine.guard cimport Guard

from fastlb.spec import CircuitBreaker


cdef Guard make_guard(b, assignment, ServerSet members, Region region, int worker):
    cdef Guard guard = Guard()
    cdef int group = assignment.backends[b.name]
    cdef int slot, index
    rules = b.circuit_breaker or CircuitBreaker(errors=0)
    judges = bool(rules.errors or rules.slow)
    guard.adaptive = b.adaptive_concurrency is not None
    guard.counts = guard.adaptive or rules.concurrency > 0
    guard.owner = region
    guard.line = region.group(group)
    guard.held = region.held(worker, group)
    guard.refused = &region.group_breaker(group).refused
    guard.concurrency = rules.concurrency
    if judges and "backend" in rules.scope:
        guard.breaker = GroupBreaker()
        guard.breaker.owner = region
        guard.breaker.line = region.group_breaker(group)
        read_rules(&guard.breaker.rules, rules)
    if judges and "server" in rules.scope:
        guard.servers = ServerBreakers(members)
        guard.servers.owner = region
        read_rules(&guard.servers.rules, rules)
        for slot, s in enumerate(b.servers):
            index = assignment.servers[(b.name, s.address)]
            guard.servers.lines[slot] = region.server_breaker(index)
    return guard
