"""The last lines of an access log, and its lines as they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastlb.engine.access_log import AccessLog
from tests.engine.log_samples import SAMPLE


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AccessLog]:
    made = AccessLog(str(tmp_path / "access.log"), "json")
    yield made
    made.close()


def write(log: AccessLog, *numbers: int) -> None:
    for number in numbers:
        log.emit(SAMPLE | {"request_id": str(number)})


def numbers(lines: bytes | None) -> list[int]:
    assert lines is not None and (lines == b"" or lines.endswith(b"\n"))
    return [int(json.loads(line)["request_id"]) for line in lines.splitlines()]


def test_nothing_yet(log: AccessLog) -> None:
    assert log.recent() == b"" and log.take() == (b"", 0)


def test_the_last_lines_with_and_without_a_tick_in_between(log: AccessLog) -> None:
    write(log, 1, 2)
    assert numbers(log.recent()) == [1, 2]
    assert numbers(log.recent()) == [1, 2]
    for tick in range(3, 9):
        write(log, tick)
        log.hand_over()
        log.sync()
    write(log, 9)
    assert numbers(log.recent()) == list(range(1, 10))
    log.hand_over()
    log.hand_over()
    assert numbers(log.recent()) == list(range(1, 10))


def test_of_many_the_last_are_kept_without_a_gap(log: AccessLog) -> None:
    for tick in range(400):
        write(log, *range(tick * 10, tick * 10 + 10))
        if tick % 3:
            log.hand_over()
    found = numbers(log.recent())
    assert found == list(range(4000 - len(found), 4000))
    size = len(log.recent() or b"")
    assert 30_000 < size <= 65_536


def test_chunks_that_fill_up_between_two_ticks(log: AccessLog) -> None:
    """What was not looked at in time is left out, but there is no gap in what is told."""
    write(log, 1, 2)
    log.hand_over()
    write(log, *range(10, 1500))  # several chunks
    found = numbers(log.recent())
    assert found[-1] == 1499 and found == list(range(1500 - len(found), 1500)) and len(found) > 50
    write(log, 1500)
    log.hand_over()
    assert numbers(log.recent())[-3:] == [1498, 1499, 1500]


def test_a_watch_gets_every_line_once(log: AccessLog) -> None:
    write(log, 1, 2)
    log.hand_over()
    write(log, 3)
    assert numbers(log.watch()) == [1, 2, 3]
    assert log.take() == (b"", 0)
    write(log, 4)
    log.hand_over()
    log.sync()
    write(log, 5)
    log.sync()
    assert numbers(log.take()[0]) == [4, 5]
    write(log, *range(6, 800))  # more than a chunk
    log.sync()
    lines, lost = log.take()
    assert numbers(lines) == list(range(6, 800)) and lost == 0
    log.unwatch()
    write(log, 800)
    log.sync()
    assert log.take() == (b"", 0)
    assert numbers(log.recent())[-1] == 800


def test_a_second_watch_gets_what_the_first_has_not_read(log: AccessLog) -> None:
    log.watch()
    write(log, 1)
    assert numbers(log.watch()) == [1]  # all there is so far
    assert numbers(log.take()[0]) == [1]  # which the first one has still to read
    write(log, 2)
    log.sync()
    assert numbers(log.take()[0]) == [2]


def test_what_nobody_takes_is_counted(log: AccessLog) -> None:
    log.watch()
    for start in range(0, 6000, 100):
        write(log, *range(start, start + 100))
        log.sync()
    lines, lost = log.take()
    found = numbers(lines)
    assert found == list(range(len(found))) and len(found) + lost == 6000 and lost > 1000 and len(lines) <= 1 << 20
    write(log, 6000)
    log.sync()
    assert numbers(log.take()[0]) == [6000]


def test_watching_loses_nothing_of_the_log_itself(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), "json")
    write(log, *range(100))
    log.watch()
    write(log, *range(100, 2000))
    log.unwatch()
    write(log, *range(2000, 2100))
    assert log.close()
    assert numbers(path.read_bytes()) == list(range(2100))


def test_off_has_nothing() -> None:
    log = AccessLog("off")
    assert log.recent() is None and log.watch() is None and log.take() == (b"", 0)
    log.unwatch()
    log.close()
