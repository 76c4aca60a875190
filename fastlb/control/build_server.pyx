"""Servers as the engine knows them, from the Spec."""

import socket

from fastlb.control.tcp_options import engine_options
from fastlb.control.tls_client import client_tls

from fastlb.engine.proxy_protocol cimport (
    PROXY_ALPN, PROXY_AUTHORITY, PROXY_CRC32C, PROXY_SSL, PROXY_UNIQUE_ID)
from fastlb.engine.tls cimport tls_prepare

_TLVS = {
    "unique_id": PROXY_UNIQUE_ID, "authority": PROXY_AUTHORITY, "alpn": PROXY_ALPN, "ssl": PROXY_SSL,
    "crc32c": PROXY_CRC32C,
}


cdef uint32_t milliseconds(object seconds) except? 0:
    return <uint32_t>min(round(seconds * 1000), NO_LIMIT)


cdef Server make_server(Core core, s, b):
    cdef Server server
    pool = b.pool
    if s.address.path:
        server = Server(s.name, str(s.address), socket.AF_UNIX, s.address.path)
    elif s.resolved:
        family, where = s.resolved[0]
        server = Server(s.name, str(s.address), family, where)
    else:
        server = Server(s.name, str(s.address), 0, None)
    if b.tls is not None:
        if not tls_prepare(core):
            raise MemoryError
        server.tls = client_tls(b.tls, s, b.mode)
    if s.resolved and (options := engine_options(b.tcp, s.resolved[0][0])):
        server.set_options(*options)
    server.pool_size = pool.size
    server.proxy = {"": 0, "v1": 1, "v2": 2}[s.send_proxy]
    for tlv in b.proxy_tlvs:
        server.proxy_tlvs |= <uint32_t>_TLVS[tlv]
    server.pool_idle_ms = milliseconds(pool.idle) or NO_LIMIT
    server.pool_max_age_ms = milliseconds(pool.max_age)
    server.pool_max_requests = pool.max_requests
    return server
