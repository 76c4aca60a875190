"""Hashed passwords as others write them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bcrypt
import pytest

from fastlb.auth import hashes, htpasswd
from tests.helpers import in_ci, need

SHA512 = (
    "$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/"
)
SHA256 = "$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2"
# crypt(3) of libxcrypt, "secret" with the setting $y$j75$saltsaltsaltsalt
YESCRYPT = "$y$j75$saltsaltsaltsalt$DsMjm5uqUiFBUYLB9CLnX8E/M0k0mOVJBUWdpCrUik9"
SHA1 = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="


@pytest.mark.parametrize("password", ["x", "secret", "a" * 15, "b" * 16, "c" * 17, "d" * 70, "pässwörd"])
@pytest.mark.parametrize("kind", ["apr1", "5", "6"])
def test_what_openssl_makes_is_right(kind: str, password: str) -> None:
    made = subprocess.run(
        [need("openssl"), "passwd", f"-{kind}", "-salt", "salt", "-stdin"],
        input=password + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert hashes.kind_of(made) == {"apr1": "apr1", "5": "sha256", "6": "sha512"}[kind]
    assert hashes.verify(made, password.encode())
    assert not hashes.verify(made, password.encode() + b"x")
    assert not hashes.verify(made, password.encode() + b"\0x")


@pytest.mark.parametrize("prefix", [b"2b", b"2a", b"2y"])
def test_bcrypt_under_all_its_names(prefix: bytes) -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", f"${prefix.decode()}$")
    assert hashes.verify(stored, b"secret") and not hashes.verify(stored, b"Secret")


def test_yescrypt() -> None:
    """What Debian's passwd and mkpasswd write; only some C libraries know it."""
    assert hashes.kind_of(YESCRYPT) == "yescrypt"
    if not hashes.usable("yescrypt"):
        assert not hashes.verify(YESCRYPT, b"secret")  # refused, and no error
        if in_ci():
            pytest.fail("libcrypt has no yescrypt")
        pytest.skip("libcrypt has no yescrypt")
    assert hashes.verify(YESCRYPT, b"secret")
    for wrong in (b"Secret", b"secret ", b"", b"secret\0"):
        assert not hashes.verify(YESCRYPT, wrong)
    assert htpasswd.entry(f"ann:{YESCRYPT}") == ("ann", YESCRYPT)
    for broken in (YESCRYPT[:-1], YESCRYPT + "a", YESCRYPT.replace("$j75$", "$$"), YESCRYPT.replace("$y$", "$gy$")):
        assert hashes.kind_of(broken) == ""


def test_a_machine_without_yescrypt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_crypt", lambda password, setting: None)
    with pytest.raises(htpasswd.Wrong, match="ann is yescrypt, for which this machine has no library"):
        htpasswd.entry(f"ann:{YESCRYPT}")


def test_without_the_c_library_bcrypt_is_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    monkeypatch.setattr(hashes, "_library", lambda: None)
    assert hashes.verify(stored, b"secret") and not hashes.verify(stored, b"Secret")
    assert hashes.usable("bcrypt") and hashes.usable("apr1") and not hashes.usable("sha512")
    monkeypatch.setattr(hashes, "_bcrypt", lambda: None)
    assert not hashes.usable("bcrypt") and not hashes.verify(stored, b"secret")


@pytest.mark.parametrize(
    "stored", ["", "secret", "ab1234567890.", "$1$a$b", "$6$x$y", "{SSHA}abcd", "*", "!", "$2y$05$x"]
)
def test_what_is_no_known_hash_fits_no_password(stored: str) -> None:
    assert hashes.kind_of(stored) == ""
    assert not hashes.verify(stored, b"") and not hashes.verify(stored, stored.encode())


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"# a comment\n\nann:{SHA1}\r\nbob:{SHA512}:further\nann:{SHA256}\n")
    assert htpasswd.read(str(file)) == {"ann": SHA1, "bob": SHA512}
    for line, words in (
        ("ann", "name:hash"),
        ("ann:secret", "not hashed in a known way"),
        (f"a\x01:{SHA1}", "control character"),
        (f":{SHA1}", "name:hash"),
    ):
        file.write_text(f"bob:{SHA1}\n{line}\n")
        with pytest.raises(htpasswd.Wrong, match=f"line 2: .*{words}"):
            htpasswd.read(str(file))
    for raw, words in ((b"", "names nobody"), (b"\xff:x", "not UTF-8")):
        file.write_bytes(raw)
        with pytest.raises(htpasswd.Wrong, match=words):
            htpasswd.read(str(file))
    with pytest.raises(htpasswd.Wrong, match="No such file"):
        htpasswd.read(str(tmp_path / "nowhere"))
