"""ClientHellos as programs send them, in any packets and records, and what is none."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Sequence

import pytest

from fastlb.engine.client_hello import parse
from fastlb.engine.tcp_router import TcpRouter
from fastlb.spec import Route
from tests.oracle.client_hello import read


def hello(name: str | None, protocols: Sequence[str] = (), *, newest: bool = True) -> bytes:
    """What the ssl module sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if not newest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        context.set_alpn_protocols(list(protocols))
    out = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return out.read()


def records(message: bytes, *sizes: int) -> bytes:
    """The message in records of these sizes, the last one of what is left."""
    out = b""
    for size in sizes:
        out += b"\x16\3\1" + struct.pack(">H", size) + message[:size]
        message = message[size:]
    return out + (b"\x16\3\1" + struct.pack(">H", len(message)) + message if message else b"")


def verdict(data: bytes) -> tuple[str, list[bytes]] | str | None:
    try:
        return parse(data)
    except ValueError:
        return "none"


FULL = hello("www.Example.com", ["h2", "http/1.1"])
SAMPLES = {
    "full": (FULL, "www.Example.com", [b"h2", b"http/1.1"]),
    "old": (hello("a.test", ["imap"], newest=False), "a.test", [b"imap"]),
    "bare": (hello(None), "", []),
    "address": (hello("127.0.0.1", ["h2"]), "", [b"h2"]),  # no name is sent of an address
    "pieces": (records(FULL[5:], 1, 1, 1, 1, 5, 100), "www.Example.com", [b"h2", b"http/1.1"]),
    "halves": (records(FULL[5:], len(FULL) // 2), "www.Example.com", [b"h2", b"http/1.1"]),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_at_every_cut(sample: str) -> None:
    data, name, protocols = SAMPLES[sample]
    for cut in range(len(data)):
        assert verdict(data[:cut]) is None, cut
    assert verdict(data) == verdict(data + b"\x14\3\3\0\1\1") == read(data) == (name, protocols)


def test_in_records_cut_anywhere() -> None:
    for cut in range(1, len(FULL) - 5):
        assert verdict(records(FULL[5:], cut)) == ("www.Example.com", [b"h2", b"http/1.1"])


def extended(*extensions: tuple[int, bytes]) -> bytes:
    raw = b"".join(struct.pack(">HH", kind, len(value)) + value for kind, value in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack(">H", len(raw)) + raw
    return records(b"\1" + struct.pack(">I", len(body))[1:] + body)


def sni(name: bytes, kind: int = 0) -> tuple[int, bytes]:
    entry = bytes([kind]) + struct.pack(">H", len(name)) + name
    return 0, struct.pack(">H", len(entry)) + entry


GOOD_NAME = extended(sni(b"a.b"))
NONE = {
    "request": b"GET / HTTP/1.1\r\n\r\n",
    "ssh": b"SSH-2.0-x\r\n",
    "sslv2": b"\x80\x2e\1\0\2",
    "alert": b"\x15\3\1\0\2\2\x28",
    "server hello": records(b"\2" + FULL[6:]),
    "empty record": b"\x16\3\1\0\0",
    "long record": b"\x16\3\1\x40\1",
    "long message": b"\x16\3\1\0\4\1\0\x40\0",
    "two names": extended(sni(b"a"), sni(b"b")),
    "name of a strange kind": extended(sni(b"a", 1)),
    "empty name": extended(sni(b"")),
    "NUL in the name": extended(sni(b"a\0.test")),
    "space in the name": extended(sni(b"a test")),
    "two entries": extended((0, b"\0\10\0\0\1a\0\0\1b")),
    "short list": extended((0, b"\0\5\0\0\1a")),
    "empty protocol": extended((16, b"\0\3\0\1a")),
    "no protocols": extended((16, b"\0\0")),
    "protocol too long": extended((16, b"\0\2\2a")),
    "extension too long": GOOD_NAME[:-8] + b"\0\xff" + GOOD_NAME[-6:],
    "cut short": records(b"\1\0\0\x22" + bytes(34)),
}


@pytest.mark.parametrize("sample", NONE)
def test_what_is_none_stays_so(sample: str) -> None:
    data = NONE[sample]
    assert read(data) == "none"
    verdicts = [verdict(data[:cut]) for cut in range(len(data) + 1)]
    first = verdicts.index("none")
    assert set(verdicts[:first]) <= {None}
    assert set(verdicts[first:]) == {"none"}
    assert verdict(data + FULL) == "none"


def test_endless_records_are_given_up() -> None:
    crumbs = records(FULL[5:], *[1] * (len(FULL) - 6))
    assert verdict(crumbs) == ("www.Example.com", [b"h2", b"http/1.1"])
    start = b"\1\0\x3f\xfc" + bytes(16380)
    endless = records(start, *[1] * (len(start) - 1))
    assert verdict(endless[:20479]) is None
    assert verdict(endless[:20480]) == "none" == verdict(endless)


def test_routes() -> None:
    router = TcpRouter(
        [
            Route(sni=("a.test", "*.b.test"), backend="x"),
            Route(alpn=("h2", "acme-tls/1"), backend="x"),
            Route(sni=("*.test",), source=("10.0.0.0/8",), backend="x"),
        ]
    )
    assert router.reads
    assert not TcpRouter([Route(source=("10.0.0.0/8",), backend="x")]).reads
    for name in ("a.test", "A.TEST", "a.test.", "x.b.test", "x.y.B.test"):
        assert router.find(name) == 0, name
    for name in ("b.test", "xb.test", "a.test.x", "", ".b.test"):
        assert router.find(name) is None, name
    assert router.find("b.test", [b"http/1.1", b"h2"]) == 1
    assert router.find("b.test", [b"h", b"h22", b"acme-tls/"]) is None
    assert (router.find("z.test", [], "10.1.2.3"), router.find("z.test", [], "11.1.2.3")) == (2, None)
