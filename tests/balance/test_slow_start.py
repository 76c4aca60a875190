"""The slow start curve."""

from __future__ import annotations

import pytest

from fastlb.balance import slow_start


@pytest.mark.parametrize(
    ("elapsed", "aggression", "share"),
    [
        (0, 1, 0.1), (6, 1, 0.1), (15, 1, 0.25), (30, 1, 0.5), (60, 1, 1), (90, 1, 1), (30, 2, 0.7071), (30, 0.5, 0.25),
    ],
)  # fmt: skip
def test_envoy_s_curve(elapsed: float, aggression: float, share: float) -> None:
    assert slow_start.factor(elapsed, 60, aggression) == pytest.approx(share, abs=1e-4)
    assert slow_start.ramp(elapsed, 60, aggression) == pytest.approx(share * 65536, abs=7)


def test_share_beside_ten_others() -> None:
    for elapsed, share in ((6, 0.0099), (30, 0.0476), (60, 0.0909)):
        part = slow_start.factor(elapsed, 60)
        assert part / (10 + part) == pytest.approx(share, abs=1e-4)


def test_no_window_is_no_slow_start() -> None:
    assert slow_start.factor(0, 0) == 1
    assert [slow_start.step(w) for w in (0.5, 5, 60)] == [0.5, 1, 3]
