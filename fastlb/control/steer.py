"""Which socket of those on one address gets a connection or a datagram: programs for the kernel (SO_REUSEPORT groups).

Without one the kernel chooses by a hash of addresses and ports over all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68

# Classic BPF (linux/filter.h): loads of the IP header, multiplicative hash, remainder
_LOAD, _TAX, _XOR, _MUL, _RSH, _MOD, _RET = 0x20, 0x07, 0xAC, 0x24, 0x74, 0x94, 0x16
_NETWORK = 0x100000000 - 0x100000  # SKF_NET_OFF
_GOLDEN = 0x9E3779B1


def attach(sock: socket.socket, count: int, *, ports: bool) -> None:
    """Has the first `count` sockets of the group share by the client's address, with `ports` also by its port.

    In the order in which they were bound (datagrams) or began to listen. Raises OSError where the kernel cannot.
    """
    if sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        ports = False  # an IPv4 packet may end before the ports of an IPv6 one, and reading beyond gives up
    code = program(sock.family, count, ports=ports)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HL", len(code) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, header)


def detach(sock: socket.socket) -> None:
    """Back to the kernel's own choice. May be repeated."""
    with contextlib.suppress(OSError):  # there was no program
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)


def program(family: int, count: int, *, ports: bool = False) -> bytes:
    """Classic BPF that makes a number below `count` of the source address of the IP header, and of the ports behind it.

    Behind options of the IP header there are other bytes where the ports should be: as good for a hash.
    """

    def op(code: int, k: int = 0) -> bytes:
        return struct.pack("HBBI", code, 0, 0, k & 0xFFFFFFFF)

    offsets: tuple[int, ...] = (8, 12, 16, 20) if family == socket.AF_INET6 else (12,)
    if ports:
        offsets += (40,) if family == socket.AF_INET6 else (20,)
    load = op(_LOAD, _NETWORK + offsets[0])
    for offset in offsets[1:]:
        load += op(_TAX) + op(_LOAD, _NETWORK + offset) + op(_XOR)
    return load + op(_MUL, _GOLDEN) + op(_RSH, 16) + op(_MOD, count) + op(_RET)
