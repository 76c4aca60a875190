"""Hashed passwords as htpasswd, mkpasswd and doveadm write them.

bcrypt, SHA-crypt and yescrypt are the C library's (crypt_r, which lets other threads run meanwhile); bcrypt falls back
on the package of that name. Apache's MD5 and {SHA} are made here: they are quick, which is what is wrong with them.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import re
from functools import cache
from hmac import compare_digest
from typing import Any

# As htpasswd(1) names them
KINDS = {
    "bcrypt": re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"),
    "sha512": re.compile(r"\$6\$(rounds=\d{1,9}\$)?[^$:]{0,16}\$[./A-Za-z0-9]{86}"),
    "sha256": re.compile(r"\$5\$(rounds=\d{1,9}\$)?[^$:]{0,16}\$[./A-Za-z0-9]{43}"),
    "yescrypt": re.compile(r"\$y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"),
    "apr1": re.compile(r"\$apr1\$[^$:]{1,8}\$[./A-Za-z0-9]{22}"),
    "sha1": re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}="),
}
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)  # None: musl has it in the C library itself
_DATA = 262144  # bytes of a struct crypt_data: glibc's own had 131,232, others less
_ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def kind_of(stored: str) -> str:
    """The kind of a stored hash, '' when it is none that is known."""
    return next((kind for kind, pattern in KINDS.items() if pattern.fullmatch(stored)), "")


def usable(kind: str) -> bool:
    """Whether hashes of this kind can be verified on this machine."""
    if kind in ("apr1", "sha1"):
        return True
    if _library() is not None:
        return kind != "yescrypt" or _crypt(b"", b"$y$j9T$abcd") is not None
    return kind == "bcrypt" and _bcrypt() is not None


def verify(stored: str, password: bytes) -> bool:
    """Whether the password has this hash. Slow: tens or hundreds of milliseconds; not for a loop. Never raises."""
    kind = kind_of(stored)
    if not kind or b"\0" in password:  # behind a NUL, crypt would see nothing: "right\0anything" must not pass
        return False
    if kind == "apr1":
        found = apr1(password, stored.split("$")[2].encode()).encode()
    elif kind == "sha1":
        found = b"{SHA}" + base64.b64encode(hashlib.sha1(password, usedforsecurity=False).digest())
    elif _library() is not None:
        # Written by others as $2y$ or $2b$, which are the same thing
        found = _crypt(password, stored.encode()) or b""
    elif kind == "bcrypt" and (package := _bcrypt()) is not None:
        return bool(package.checkpw(password[:72], stored.replace("$2y$", "$2b$", 1).encode()))
    else:
        return False
    return compare_digest(found, stored.encode())


@cache
def _library() -> Any:
    """crypt_r of the C library; None where there is none."""
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return function
    return None


@cache
def _bcrypt() -> Any:
    try:
        import bcrypt
    except ImportError:
        return None
    return bcrypt


def _crypt(password: bytes, setting: bytes) -> bytes | None:
    data = ctypes.create_string_buffer(_DATA)
    found = _library()(password, setting, data)
    return found if found and not found.startswith(b"*") else None


def apr1(password: bytes, salt: bytes) -> str:
    """Apache's variant of MD5-crypt (apr_md5.c): a thousand rounds, about a millisecond."""
    inner = hashlib.md5(password + salt + password, usedforsecurity=False).digest()
    text = password + b"$apr1$" + salt
    text += (inner * (len(password) // 16 + 1))[: len(password)]
    bits = len(password)
    while bits:
        text += b"\0" if bits & 1 else password[:1]
        bits >>= 1
    digest = hashlib.md5(text, usedforsecurity=False).digest()
    for i in range(1000):
        piece = password if i & 1 else digest
        if i % 3:
            piece += salt
        if i % 7:
            piece += password
        piece += digest if i & 1 else password
        digest = hashlib.md5(piece, usedforsecurity=False).digest()
    out = ""
    for a, b, c in ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)):
        value = digest[a] << 16 | digest[b] << 8 | digest[c]
        for _ in range(4):
            out += _ITOA64[value & 63]
            value >>= 6
    value = digest[11]
    out += _ITOA64[value & 63] + _ITOA64[value >> 6]
    return f"$apr1${salt.decode('latin-1')}${out}"
