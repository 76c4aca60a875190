"""What the client connections of a worker are doing, for `show connections`. Cold: runs when somebody asks."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from fastlb._core.net cimport ntohs
from fastlb.engine.client_connection cimport (
    CLIENT_BODY, CLIENT_CLOSED, CLIENT_FLUSH, CLIENT_HEAD, CLIENT_LINGER, CLIENT_TUNNEL, CLIENT_WAIT, ClientConnection)
from fastlb.engine.core cimport Core
from fastlb.engine.exchange cimport Exchange
from fastlb.engine.networks cimport format_address
from fastlb.engine.udp_flow cimport UdpFlow
from fastlb.engine.udp_port cimport UdpIo, UdpPort

cdef enum:
    LOOKED_AT = 65536           # connections: a worker that holds more tells of these alone
    LINE = 256                  # bytes of a request line that are told

STATES = {
    CLIENT_HEAD: "idle",
    CLIENT_BODY: "sending",     # the request's body comes in
    CLIENT_WAIT: "waiting",     # for the answer, or receiving it
    CLIENT_TUNNEL: "tunnel",
    CLIENT_FLUSH: "closing",
    CLIENT_LINGER: "closing",
}


cdef object _decode(bytes text):
    return text.decode("utf-8", "backslashreplace")


cdef dict _connection(Core core, ClientConnection c):
    cdef char text[64]
    cdef Exchange e = c.exchange
    cdef bytes line = b""
    told = {
        "frontend": _decode(c.front.name),
        "client": text[:format_address(c.peer(), text)].decode("ascii", "replace"),
        "client_port": c.peer_port(),
        "tls": bool(c.https()),
        "state": STATES[c.state],
        "request": None,
    }
    if e is None:
        return told
    if e.queueing:
        told["state"] = "queued"
    elif e.response_us and c.state == CLIENT_WAIT:
        told["state"] = "receiving"
    if e.saved != NULL:
        line = e.saved.data[e.line.off:e.line.off + (e.line.len if e.line.len < LINE else LINE)]
    told["request"] = {
        "line": _decode(line),
        "backend": "" if e.backend is None else _decode(e.backend.name),
        "server": "" if e.server is None else _decode(e.server.name),
        "attempts": e.attempts,
        "seconds": (core.reactor.now_us - e.start_us) / 1e6 if e.start_us else 0.0,
        "bytes_in": e.bytes_in,
        "bytes_out": e.bytes_out,
    }
    return told


cdef dict _flow(Core core, UdpFlow f):
    """Of a client that talks by datagrams: the datagrams so far are its request."""
    cdef char text[64]
    return {
        "frontend": _decode(f.port.front.name),
        "client": text[:format_address(&f.peer.head, text)].decode("ascii", "replace"),
        "client_port": ntohs(f.peer.v4.sin_port),       # at the same place in both families
        "tls": False,
        "state": "flow",
        "request": {
            "line": "",
            "backend": "" if f.backend is None else _decode(f.backend.name),
            "server": "" if f.server is None else _decode(f.server.name),
            "attempts": f.moves + 1,
            "seconds": (core.reactor.now_us - f.start_us) / 1e6 if core.reactor.now_us > f.start_us else 0.0,
            "bytes_in": f.bytes_in,
            "bytes_out": f.bytes_out,
        },
    }


cdef int _flows(UdpIo udp, list found, uint32_t looked) except -1:
    """Adds the flows of all listeners to what was found."""
    cdef UdpPort port
    cdef PyObject* at
    cdef UdpFlow f
    for port in udp.ports:
        at = port.oldest
        while at != NULL and looked < LOOKED_AT:
            f = <UdpFlow>at
            at = f.newer
            looked += 1
            if not f.ended:
                found.append((f.start_us, len(found), f))
    return 0


def client_list(Core core not None, int most, UdpIo udp=None):
    """(the connections, how many there are): at most `most`, those with a request first, the longest of them first.

    state: idle, sending, queued, waiting, receiving, tunnel or closing; of a client of `udp` flow. O(connections), at
    most LOOKED_AT of them.
    """
    cdef PyObject* at = core.client_first
    cdef ClientConnection c
    cdef uint32_t looked = 0
    core.reactor.update_clock()
    busy = []
    idle = []
    while at != NULL and looked < LOOKED_AT:
        c = <ClientConnection>at
        looked += 1
        at = c.client_next
        if c.state == CLIENT_CLOSED:
            continue
        if c.exchange is not None:
            busy.append((c.exchange.start_us or core.reactor.now_us, len(busy), c))
        elif len(idle) < most:
            idle.append(c)
    if udp is not None:
        _flows(udp, busy, looked)
    busy.sort()
    found = [
        _flow(core, <UdpFlow>one) if isinstance(one, UdpFlow) else _connection(core, one) for _, _, one in busy[:most]]
    found += [_connection(core, one) for one in idle[:most - len(found)]]
    return found, core.clients
