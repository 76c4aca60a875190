"""The balancer's cookie: what it holds, what is believed, how it ages and how its secret is changed."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from fastlb.engine.affinity import Affinity
from fastlb.spec import Affinity as Rules

SECRET = b"a secret of the tests"
SERVERS = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]


def make(secrets: tuple[bytes, ...] = (SECRET,), backend: str = "app", **rules: object) -> Affinity:
    return Affinity(Rules(**rules), secrets, backend, SERVERS, [7, 9, 8])  # type: ignore[arg-type]


def value_of(line: bytes) -> bytes:
    return line.partition(b"=")[2].partition(b";")[0]


def test_a_cookie_names_its_server_and_only_that() -> None:
    one = make()
    values = [value_of(one.cookie(slot, 100)) for slot in range(3)]
    assert len(set(values)) == 3
    assert [one.read(v, 100) for v in values] == [(0, "V", False), (1, "V", False), (2, "V", False)]
    assert make(backend="other").read(values[0], 100) == (-1, "I", False)
    assert make(secrets=(b"another secret of the tests",)).read(values[0], 100) == (-1, "I", False)


def test_the_identifier_is_the_hmac_of_the_address() -> None:
    key = hashlib.sha256(b"fastlb affinity\0app\0" + SECRET).digest()
    expected = base64.urlsafe_b64encode(hmac.digest(key, b"server\x0010.0.0.2:80", "sha256")[:18])
    assert value_of(make().cookie(1, 0)) == expected


def test_the_tag_of_the_dates_is_an_hmac_too() -> None:
    """The C implementation against the standard library's."""
    raw = base64.urlsafe_b64decode(value_of(make(max_life=60.0).cookie(2, 1_700_000_000, first=1_699_999_999)))
    key = hashlib.sha256(b"fastlb affinity\0app\0" + SECRET).digest()
    assert raw[18:26] == (1_699_999_999).to_bytes(4, "big") + (1_700_000_000).to_bytes(4, "big")
    assert raw[26:] == hmac.digest(key, raw[:26], "sha256")[:16]


@pytest.mark.parametrize("rules", [{}, {"max_life": 100.0}])
def test_no_changed_character_is_believed(rules: dict[str, object]) -> None:
    one = make(**rules)
    value = value_of(one.cookie(0, 100))
    assert one.read(value, 100)[0] == 0
    for i in range(len(value)):
        for other in (b"A", b"_", b"=", b" "):
            changed = value[:i] + other + value[i + 1 :]
            if changed != value:
                assert one.read(changed, 100)[0] == -1, (i, other)
    for wrong in (b"", value[:-1], value + b"A", value * 2, b"\xff" * len(value)):
        assert one.read(wrong, 100)[0] == -1


def test_idle_and_life() -> None:
    one = make(max_idle=160.0, max_life=1000.0)
    given = value_of(one.cookie(1, 5000))
    assert one.read(given, 5010) == (1, "V", False)
    assert one.read(given, 5011) == (1, "V", True)  # a sixteenth of max_idle: its date is renewed
    assert one.read(given, 5160) == (1, "V", True)
    assert one.read(given, 5161) == (-1, "E", False)
    renewed = value_of(one.cookie(1, 5990, first=5000))
    assert one.read(renewed, 6000) == (1, "V", False)
    assert one.read(renewed, 6001) == (-1, "O", False)


def test_a_secret_is_changed_by_putting_the_new_one_first() -> None:
    old = value_of(make().cookie(2, 0))
    both = make(secrets=(b"the new secret of the tests", SECRET))
    assert both.read(old, 0) == (2, "V", True)  # believed, and replaced
    assert both.read(value_of(both.cookie(2, 0)), 0) == (2, "V", False)


def test_attributes() -> None:
    line = make(name="S", path="/shop", domain="example.com", max_age=60.0, same_site="Strict").cookie(0, 0)
    assert line.endswith(
        b"; Path=/shop; Domain=example.com; Max-Age=60; HttpOnly; SameSite=Strict\r\nCache-Control: private\r\n"
    )
    assert line.startswith(b"Set-Cookie: S=")
    assert b"; Secure\r\n" in make(private=False).cookie(0, 0, https=True)
    assert b"Secure" not in make(secure="never").cookie(0, 0, https=True)
    assert make(secure="always", http_only=False, private=False).cookie(0, 0).endswith(b"; SameSite=Lax; Secure\r\n")
