"""The scans of scan.h: SSE2 and portable form against a plain reading of the RFCs, at every alignment and length.

Buffers lie at the end of a page whose successor may not be touched, so a read past the end is a fault, not a guess.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT, need

SOURCE = """
#include "scan.h"
#define EXPORT(NAME) \\
    long run_##NAME(const uint8_t *base, long from, long end) { return NAME(base + from, base + end, base) - base; }
EXPORT(fl_scan_value)
EXPORT(fl_scan_target)
EXPORT(fl_scan_common)
EXPORT(fl_scan_host)
int form(void) { return FL_SCAN_SSE2; }
int class_of(int c) { return fl_class[c]; }
int hex_of(int c) { return fl_hex(c); }
int lower_of(int c) { return fl_lower(c); }
"""
ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VISIBLE = bytes(range(0x21, 0x7F))
OBS_TEXT = bytes(range(0x80, 0x100))
CLASSES = {
    1: ALNUM + b"!#$%&'*+-.^_`|~",  # token, RFC 9110 section 5.6.2
    2: VISIBLE + b"\t " + OBS_TEXT,  # field content, section 5.5
    4: bytes(b for b in VISIBLE if b not in b"?#"),
    8: b"0123456789",
    16: b"0123456789abcdefABCDEF",
    32: ALNUM + b"-._~!$&'()*+;=",  # RFC 3986 section 3.2.2 without the comma
    64: bytes(b for b in VISIBLE if b not in b'"\\') + b"\t " + OBS_TEXT,  # qdtext, RFC 9110 section 5.6.4
    128: ALNUM + b"-",
}
SCANS = {"fl_scan_value": CLASSES[2], "fl_scan_target": CLASSES[4], "fl_scan_common": CLASSES[128]}


@pytest.fixture(scope="module", params=["default", "portable"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        need(compiler)
    folder: Path = tmp_path_factory.mktemp("scan")
    (folder / "scan.c").write_text(SOURCE)
    command = [compiler, "-O2", "-shared", "-fPIC", f"-I{ROOT / 'fastlb/http'}", "-o", str(folder / "scan.so")]
    if request.param == "portable":
        command.append("-DFASTLB_SCAN_PORTABLE")
    subprocess.run([*command, str(folder / "scan.c")], check=True, capture_output=True, text=True)
    loaded = ctypes.CDLL(str(folder / "scan.so"))
    if request.param == "portable":
        assert loaded.form() == 0
    for name in (*SCANS, "fl_scan_host"):
        function = getattr(loaded, f"run_{name}")
        function.restype = ctypes.c_long
        function.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return loaded


@pytest.fixture(scope="module")
def place() -> Iterator[Callable[[bytes], int]]:
    """Puts bytes directly before a page that must not be read; the address where they begin."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    anchor = ctypes.c_char.from_buffer(area)
    start = ctypes.addressof(anchor)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0, os.strerror(ctypes.get_errno())

    def put(data: bytes) -> int:
        address = start + page - len(data)
        ctypes.memmove(address, data, len(data))
        return address

    yield put
    del anchor
    area.close()


def plain_scan(data: bytes, start: int, allowed: bytes) -> int:
    return next((i for i in range(start, len(data)) if data[i] not in allowed), len(data))


def test_classes_are_those_of_the_rfcs(library: ctypes.CDLL) -> None:
    for c in range(256):
        expected = sum(bit for bit, members in CLASSES.items() if c in members)
        assert library.class_of(c) == expected, hex(c)


def test_digits_and_case(library: ctypes.CDLL) -> None:
    for c in range(256):
        assert library.hex_of(c) == (int(chr(c), 16) if c in CLASSES[16] else -1)
        assert library.lower_of(c) == bytes([c]).lower()[0]


@pytest.mark.parametrize("name", SCANS)
def test_every_byte_at_every_place(library: ctypes.CDLL, place: Callable[[bytes], int], name: str) -> None:
    scan, allowed = getattr(library, f"run_{name}"), SCANS[name]
    filler = b"a"
    for length in (1, 7, 8, 15, 16, 17, 33):
        for at in range(length):
            for value in range(256):
                data = filler * at + bytes([value]) + filler * (length - at - 1)
                assert scan(place(data), 0, length) == plain_scan(data, 0, allowed), (length, at, value)


@pytest.mark.parametrize("name", SCANS)
def test_random_buffers_from_any_start(library: ctypes.CDLL, place: Callable[[bytes], int], name: str) -> None:
    scan, allowed = getattr(library, f"run_{name}"), SCANS[name]
    rng = random.Random(1)
    for _ in range(4000):
        length = rng.randrange(70)
        data = bytes(rng.choices(allowed, k=length))
        for _ in range(rng.randrange(3)):
            if length:
                i = rng.randrange(length)
                data = data[:i] + bytes([rng.randrange(256)]) + data[i + 1 :]
        start = rng.randint(0, length)
        assert scan(place(data), start, length) == plain_scan(data, start, allowed), (data, start)


def test_host_scan_stops_in_time(library: ctypes.CDLL, place: Callable[[bytes], int]) -> None:
    """It may stop early, since the table goes on from there, but never passes a byte that no host has."""
    allowed = CLASSES[128] + b"."
    rng = random.Random(2)
    for _ in range(4000):
        length = rng.randrange(50)
        data = bytes(rng.choices(allowed, k=length))
        if length and rng.random() < 0.7:
            i = rng.randrange(length)
            data = data[:i] + bytes([rng.randrange(256)]) + data[i + 1 :]
        start = rng.randint(0, length)
        end = plain_scan(data, start, allowed)
        assert start <= library.run_fl_scan_host(place(data), start, length) <= end, (data, start)
