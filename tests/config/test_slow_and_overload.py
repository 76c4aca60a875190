"""Slow clients and overload in the configuration."""

from __future__ import annotations

import pytest

from fastlb import spec
from fastlb.config import check_text

from .samples import MINIMAL, texts


def test_the_rates_of_clients_are_read_key_by_key() -> None:
    report = check_text(
        MINIMAL + '[frontends.web.limits]\nmin_request_rate = 0\nmin_rate_window = "5s"\n'
        '[limits]\nmin_request_rate = "1KB/s"\nmin_response_rate = "6KB/m"\n'
    )
    assert texts(report) == []
    assert report.spec is not None
    limits = report.spec.frontends[0].limits
    assert (limits.min_request_rate, limits.min_response_rate, limits.min_rate_window) == (0.0, 102.4, 5.0)


def test_the_steps_are_read() -> None:
    report = check_text(MINIMAL + '[overload]\nclose = 0\nshed = "50%"\nrefuse = 0.5\nreset = "70%"\nmemory = "99GB"\n')
    assert texts(report) == []
    assert report.spec is not None
    assert report.spec.overload == spec.OverloadSteps(0, 0.5, 0.5, 0.7, 99 << 30)


@pytest.mark.parametrize(
    ("workers", "text", "message"),
    [
        (1, 'memory = "1MB"', "leaves 1 MB to one process, which needs some 56 MB at rest: refuse would last for good"),
        (0, 'memory = "60MB"', "which needs some 80 MB at rest: refuse"),
        (4, 'memory = "200MB"', "leaves 50 MB to each of 4 workers"),
        (4, 'memory = "200MB"', "264MB is the least"),
        (2, 'memory = "125MB"\nclose = "80%"', "close would last for good. 140MB is the least"),
        (2, 'memory = "142MB"\nclose = "80%"', ""),
        (1, 'memory = "1MB"\nclose = 0\nshed = 0\nrefuse = 0\nreset = 0', ""),
    ],
)
def test_memory_that_is_used_up_at_rest_is_told(workers: int, text: str, message: str) -> None:
    report = check_text(f"{MINIMAL}\n[global]\nworkers = {workers}\n[overload]\n{text}\n")
    assert not report.errors
    told = [one for one in texts(report) if "overload.memory" in one]
    assert len(told) == bool(message)
    assert all(message in one for one in told)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[overload]\nclose = "80%"\nshed = 0\nrefuse = "70%"', 'overload.refuse = "70%": must not be below the steps'),
        ('[overload]\nshet = "80%"', 'did you mean "shed"?'),
        ('[limits]\nmin_request_rate = "10/s"', 'did you mean "10B/s"?'),
        ("[limits]\nmin_response_rate = 500", 'did you mean "500B/s"?'),
        ("[limits]\nmin_rate_window = 0", "must be more than 0"),
    ],
)
def test_wrong_values_are_told(text: str, message: str) -> None:
    report = check_text(f"{MINIMAL}{text}\n")
    assert len(report.errors) == 1
    assert message in str(report.errors[0])
