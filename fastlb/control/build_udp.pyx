"""Turns the part of a Spec that is about datagrams into engine objects."""

import socket

from libc.stdint cimport uint32_t
from fastlb.engine.router cimport Router
from fastlb.engine.udp_listener cimport UdpListener
from fastlb.engine.udp_port cimport FLOW_PACKET, FLOW_SOURCE, FLOW_TUPLE, UdpFrontend, UdpPort
from fastlb.engine.upstream cimport Action

_FLOWS = {"tuple": FLOW_TUPLE, "source": FLOW_SOURCE, "packet": FLOW_PACKET}


cdef Frontend udp_frontend(object spec, object f, Backend target):
    cdef UdpFrontend front
    cdef Action action = Action()
    udp = f.udp
    action.backend = target
    action.route = b"default"
    front = UdpFrontend(f.name, Router(()), [action])
    front.set_up(
        target, flow=_FLOWS[udp.flow], evict=udp.overflow == "evict", requests=udp.requests, responses=udp.responses,
        max_flows=udp.max_flows, amplification=udp.amplification, shunned=_shunned(spec, f),
    )
    front.idle_ms = <uint32_t>min(max(round(udp.idle * 1000), 1), 0x7fffffff)
    return front


def _shunned(spec, f):
    """Addresses of the servers behind the frontend, and where it listens: whoever claims to send from there lies."""
    found = set()
    for b in spec.backends:
        if b.name == f.backend:
            for s in b.servers:
                for family, where in s.resolved[:1]:
                    if family in (socket.AF_INET, socket.AF_INET6):
                        found.add((socket.inet_pton(family, where[0]), where[1]))
    for listen in f.listen:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                packed = socket.inet_pton(family, listen.address.host)
            except OSError:
                continue
            if any(packed):
                found.add((packed, listen.address.port))
    return {(packed, port) for packed, port in found if port}


cdef object udp_listener(UdpIo io, Frontend front, int fd, int port):
    return UdpListener(io, front, fd, port)


cdef void udp_leave(UdpIo io, object within_ms):
    cdef UdpPort port
    cdef uint32_t within = <uint32_t>within_ms
    for port in io.ports:
        port.leave_all(within)
    io.resting.clear()
    io.ports = [port for port in io.ports if port.fd >= 0]
