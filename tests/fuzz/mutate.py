"""Random changes to corpus entries, the same for the same seed."""

from __future__ import annotations

import random

PIECES = [
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"=", b'"', b"\\", b"#", b"?", b"/", b"*", b"%", b"[",
    b"]", b"\r\n\r\n", b"\r\n ", b"\n\n", b"\xff", b"\x7f", b"\x0b", b"\xa0", b"0", b"9", b"f", b"Host: a\r\n",
    b"HTTP/1.1", b"HTTP/1.0", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"chunked", b"GET / ", b"0\r\n\r\n",
]  # fmt: skip
BIT = 8


def mutate(rng: random.Random, corpus: list[bytes]) -> bytes:
    """One entry after one to six changes; sometimes two of them joined."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randint(0, len(data))
        to = min(len(data), at + rng.choice((1, 1, 1, 2, 4, 16)))
        match rng.randrange(8):
            case 0:
                data[at:at] = rng.choice(PIECES)
            case 1:
                del data[at:to]
            case 2:
                data[at:to] = rng.choice(PIECES)
            case 3:
                data[at:at] = data[at:to]
            case 4 if data:
                data[at % len(data)] ^= 1 << rng.randrange(BIT)
            case 5:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 6:
                other = rng.choice(corpus)
                data[at:] = other[rng.randint(0, len(other)) :]
            case 7:
                data[at:at] = bytes([rng.choice(b"aZ09-_")]) * rng.choice((1, 15, 16, 17, 40))
    return bytes(data)
