"""Rates and their keys: what is read, and what is said of the rest."""

from __future__ import annotations

import pytest

from fastlb.config.models_rates import rate, rate_key
from fastlb.config.suggest import Invalid


@pytest.mark.parametrize(
    ("text", "a_second"),
    [("10/s", 10), ("100/m", 100 / 60), (" 1 / day ", 1 / 86400), ("0.5/second", 0.5), ("5000/h", 5000 / 3600)],
)
def test_rates(text: str, a_second: float) -> None:
    assert rate(text) == pytest.approx(a_second)


@pytest.mark.parametrize(
    "wrong", ["", "10", "10/x", "-1/s", "0/s", "0.000/m", "1e3/s", "10/s/s", 0, True, None, ["1/s"]]
)
def test_wrong_rates(wrong: object) -> None:
    with pytest.raises(Invalid):
        rate(wrong)


def test_the_nearest_rate() -> None:
    with pytest.raises(Invalid) as caught:
        rate(10)
    assert caught.value.nearest == "10/s"


@pytest.mark.parametrize("key", ["ip", "host", "path", "header:X-Key", "cookie:id", "query:q"])
def test_keys(key: str) -> None:
    assert rate_key(key) == key


@pytest.mark.parametrize(("wrong", "nearest"), [("source", "ip"), ("hots", "host"), ("uri", "path"), (7, "")])
def test_wrong_keys(wrong: object, nearest: str) -> None:
    with pytest.raises(Invalid) as caught:
        rate_key(wrong)
    assert caught.value.nearest == nearest
