"""The table of verified credentials, and the digest that it knows them by."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from fastlb.engine.grants import keyed_digest, table_probe


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_the_digest_is_hmac_sha256(key: bytes, message: bytes) -> None:
    assert keyed_digest(key, message) == hmac.digest(key, message, "sha256")


def test_the_digest_at_every_length_around_a_block() -> None:
    for n in range(260):
        assert keyed_digest(b"k" * 32, b"m" * n) == hmac.digest(b"k" * 32, b"m" * n, "sha256")


def test_a_grant_ends_when_it_says() -> None:
    assert table_probe(4, [("put", b"ann", 100), ("find", b"ann", 99), ("find", b"ann", 100)]) == [b"ann", None]
    again = [("put", b"ann", 100), ("put", b"ann", 200), ("find", b"ann", 150), ("find", b"bob", 0)]
    assert table_probe(4, again) == [b"ann", None]


def test_a_full_table_forgets_who_ends_first() -> None:
    put = [("put", b"%d" % n, 100 + n) for n in range(5)]
    assert table_probe(4, [*put, *(("find", b"%d" % n, 0) for n in range(5))]) == [None, b"1", b"2", b"3", b"4"]
