"""What a line of the access log costs the engine, beside Python's logging with json.dumps.

Fixed work: 1,000 lines a round; the thread has delivered everything before the next round begins, so that nothing is
dropped and only formatting is timed. `python -m pytest benchmarks/test_log.py` prints the time of 1,000 lines.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastlb.engine.access_log import FORMATS, AccessLog

LINES = 1000
ROUNDS = 100
# A browser's request over keep-alive
RECORD: dict[str, Any] = {
    "start_us": 1_770_000_000_123_456,
    "tr": 0,
    "tw": 0,
    "tc": 0,
    "trr": 4,
    "ta": 5,
    "ta_us": 5_123,
    "status": 200,
    "client": "192.168.17.204",
    "client_port": 51822,
    "bytes_in": 748,
    "bytes_out": 14_211,
    "actconn": 64,
    "feconn": 64,
    "beconn": 12,
    "srv_conn": 4,
    "frontend": "web",
    "backend": "web_servers",
    "server": "web1",
    "line": "GET /assets/app/main.4f2c1a9b.js?v=20260201 HTTP/1.1",
    "host": "www.example.com",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
    "Safari/537.36",
    "referer": "https://www.example.com/products/overview?page=2",
}


@pytest.mark.benchmark(group="access log, 1000 lines")
@pytest.mark.parametrize("format", FORMATS)
def test_engine(benchmark: Any, format: str) -> None:
    log = AccessLog("/dev/null", format)

    def settle() -> tuple[tuple[dict[str, Any], int], dict[str, Any]]:
        assert log.sync()
        return (RECORD, LINES), {}

    benchmark.pedantic(log.emit_many, setup=settle, rounds=ROUNDS, warmup_rounds=5)
    assert log.close(), "nothing was dropped"
    assert log.written == LINES * (ROUNDS + 5)


class _ToJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": self.formatTime(record), **record.__dict__["exchange"]})


@pytest.fixture
def python_log() -> Iterator[Callable[[], None]]:
    logger = logging.getLogger("fastlb.benchmark")
    handler = logging.FileHandler("/dev/null")
    handler.setFormatter(_ToJson())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

    def lines() -> None:
        for _ in range(LINES):
            logger.info("", extra={"exchange": RECORD})

    yield lines
    logger.removeHandler(handler)
    handler.close()


@pytest.mark.benchmark(group="access log, 1000 lines")
def test_python_logging_and_json(benchmark: Any, python_log: Callable[[], None]) -> None:
    benchmark.pedantic(python_log, rounds=20, warmup_rounds=2)
