"""The error log: a line with its reason for what was refused or failed, limited by reason."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from fastlb.engine.error_log import LEVELS, ErrorLog
from tests.engine.log_samples import SAMPLE
from tests.helpers import wait_until

FAILED = SAMPLE | {"status": 503, "reason": "connection refused", "term": "SC--"}
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>\w+) fastlb\[(?P<pid>\d+)\]"
    r"(?: worker=(?P<worker>\d+))? (?P<rest>.*)"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "error.log"


def read(path: Path) -> list[dict[str, Any]]:
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found), path.read_text()
    return [match.groupdict() for match in found if match]


def test_a_failed_exchange(path: Path) -> None:
    log = ErrorLog(str(path), worker=3)
    log.failure(FAILED)
    log.failure(FAILED | {"client": "2001:db8::1", "status": 0, "server": "<NOSRV>", "reason": 'a "b"\n\xff'}, "error")
    log.text("descriptor limit reached, accepting pauses", "info")
    assert log.close() and log.written == 3
    first, second, third = read(path)
    assert first == {
        "level": "warning",
        "pid": str(os.getpid()),
        "worker": "3",
        "rest": "frontend=http-in backend=static server=srv1 client=10.0.1.2:33317 status=503 "
        'reason="connection refused"',
    }
    assert (second["level"], third["level"]) == ("error", "info")
    assert second["rest"] == (
        "frontend=http-in backend=static server=<NOSRV> client=[2001:db8::1]:33317 status=-1 "
        'reason="a \\x22b\\x22\\x0A\\xC3\\xBF"'
    )
    assert third["rest"] == "descriptor limit reached, accepting pauses"


def test_one_of_several_workers_or_not(path: Path) -> None:
    log = ErrorLog(str(path), worker=None)
    log.failure(FAILED | {"reason": None})
    log.close()
    (line,) = read(path)
    assert line["worker"] is None and line["rest"].endswith('status=503 reason=""')


@pytest.mark.parametrize("level", LEVELS)
def test_only_from_its_level_on(path: Path, level: str) -> None:
    log = ErrorLog(str(path), level)
    for each in LEVELS:
        log.failure(FAILED | {"reason": each}, each)
        log.text(f"text of {each}", each)
    log.close()
    expected = LEVELS[LEVELS.index(level) :]
    assert [line["level"] for line in read(path)] == [each for each in expected for _ in range(2)]


def test_a_reason_is_limited_and_summed_up(path: Path) -> None:
    log = ErrorLog(str(path))
    for i in range(3000):
        log.failure(FAILED)
        if i % 100 == 0:
            log.failure(FAILED | {"reason": "no server left"}, "error")
    log.failure(FAILED | {"reason": "once"})
    log.close()
    lines = read(path)
    for reason, total, level in (("connection refused", 3000, "warning"), ("no server left", 30, "error")):
        single = [line for line in lines if line["rest"].endswith(f'status=503 reason="{reason}"')]
        sums = [line for line in lines if line["rest"].startswith(f'reason="{reason}" more=')]
        assert 10 <= len(single) <= 10 * (len(sums) + 1), "ten a second"
        assert len(single) + sum(int(line["rest"].rsplit("=", 1)[1]) for line in sums) == total
        assert {line["level"] for line in single + sums} == {level}
    assert sum('"once"' in line["rest"] for line in lines) == 1


def test_the_sum_comes_by_itself_when_the_second_is_over(path: Path) -> None:
    log = ErrorLog(str(path))
    for _ in range(50):
        log.failure(FAILED)

    def summed() -> bool:
        log.hand_over()
        return "more=" in path.read_text()

    wait_until(summed, what="the summary")
    log.close()


def test_many_reasons_share_the_slots_and_lose_nothing(path: Path) -> None:
    log = ErrorLog(str(path))
    for _ in range(12):
        for i in range(200):
            log.failure(FAILED | {"reason": f"reason number {i}"})
    assert log.close()
    lines = read(path)
    more = sum(int(line["rest"].rsplit("=", 1)[1]) for line in lines if " more=" in line["rest"])
    assert sum(" more=" not in line["rest"] for line in lines) + more == 12 * 200


def test_off_and_wrong_arguments(path: Path) -> None:
    log = ErrorLog("off")
    assert not log.enabled
    log.failure(FAILED)
    log.text("x")
    log.hand_over()
    assert log.close()
    with pytest.raises(ValueError, match="log level 'loud': expected one of debug, info, warning, error"):
        ErrorLog(str(path), "loud")


def test_a_stalled_error_log_drops_and_says_so(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    r = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = ErrorLog(fifo)
    for i in range(20_000):
        log.text(f"line {i}" + "x" * 90)
    dropped = log.dropped
    assert dropped > 1000
    data = bytearray()

    def told() -> bool:
        log.hand_over()
        try:
            data.extend(os.read(r, 1 << 20))
        except BlockingIOError:
            pass
        return f"error log: {dropped} lines dropped\n".encode() in data

    wait_until(told, what="the number of lines dropped")
    os.close(r)
    log.close()
