"""A finished exchange as the engine would describe it, and lines of it read back."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastlb.engine.access_log import AccessLog

# HAProxy's own sample: 06/Feb/2009:12:14:14.655 in Paris
SAMPLE: dict[str, Any] = {
    "start_us": 1233918854655321,
    "tr": 10,
    "tw": 0,
    "tc": 30,
    "trr": 69,
    "ta": 109,
    "ta_us": 109123,
    "status": 200,
    "client": "10.0.1.2",
    "client_port": 33317,
    "bytes_in": 345,
    "bytes_out": 2750,
    "actconn": 1,
    "feconn": 1,
    "beconn": 1,
    "srv_conn": 1,
    "frontend": "http-in",
    "backend": "static",
    "server": "srv1",
    "line": "GET /index.html HTTP/1.1",
    "host": "1wt.eu",
    "user_agent": "Mozilla/5.0 (X11)",
    "minor": 1,
}

# option httplog of the HAProxy manual, section 8.2.3, field by field
HTTPLOG = re.compile(
    rb"(?P<client>[^ ]+):(?P<port>\d+)"
    rb" \[(?P<date>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\]"
    rb" (?P<frontend>[^ ~]+)(?P<tls>~?) (?P<backend>[^ /]+)/(?P<server>[^ ]+)"
    rb" (?P<tr>-1|\d+)/(?P<tw>-1|\d+)/(?P<tc>-1|\d+)/(?P<trr>-1|\d+)/(?P<ta>-1|\d+)"
    rb" (?P<status>-1|\d{1,5}) (?P<bytes_out>\d+) - - (?P<term>[A-Za-z-]{4})"
    rb" (?P<actconn>\d+)/(?P<feconn>\d+)/(?P<beconn>\d+)/(?P<srv_conn>\d+)/(?P<redispatched>\+?)(?P<retries>\d+)"
    rb' (?P<srv_queue>\d+)/(?P<backend_queue>\d+) "(?P<line>[^"]*)"'
)


@contextmanager
def local_time(zone: str) -> Iterator[None]:
    """The process's time zone for a while; a log reads it when it is made."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def write(path: Path, format: str, *records: dict[str, Any], **options: Any) -> list[bytes]:
    """The lines that these records make in a fresh file."""
    path.unlink(missing_ok=True)
    log = AccessLog(str(path), format, **options)
    try:
        for record in records:
            log.emit(record)
        assert log.sync()
    finally:
        assert log.close()
    text = path.read_bytes()
    assert text.endswith(b"\n") or not records
    return text.split(b"\n")[:-1]
