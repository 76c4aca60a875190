"""The spelling of access log lines: golden lines, and what no input may do to them."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlb.engine.access_log import FORMATS, AccessLog
from tests.engine.log_samples import HTTPLOG, SAMPLE, local_time, write
from tests.helpers import need

TEXTS = ("client", "frontend", "backend", "server", "line", "host", "user_agent", "referer", "request_id", "reason",
         "user", "tls_version", "tls_cipher", "tls_sni", "tls_client")  # fmt: skip
REASONS = {"reason": "connection refused"}
TMP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
FEW = settings(TMP, max_examples=20)


def one(path: Path, format: str, record: dict[str, Any], **options: Any) -> bytes:
    (line,) = write(path, format, record, **options)
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


# ---- golden lines ----------------------------------------------------------------------------------------


def test_httplog_is_haproxys_line(path: Path) -> None:
    with local_time("Europe/Paris"):
        line = one(path, "httplog", SAMPLE, header=False)
    assert line == (
        b"10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "
        b'"GET /index.html HTTP/1.1"'
    )


def test_httplog_in_a_file_has_a_syslog_header(path: Path) -> None:
    with local_time("Europe/Paris"):
        line = one(path, "httplog", SAMPLE, hostname="proxy1")
    assert line.startswith(
        b"Feb  6 12:14:14 proxy1 fastlb[%d]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] " % os.getpid()
    )


TLS = {"https": 1, "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256", "tls_sni": "1wt.eu"}


@pytest.mark.parametrize(
    ("change", "end"),
    [
        # what HAProxy 2.6 wrote with `option httpslog`
        (TLS, b" 0/0000000000000000/0/0/0 1wt.eu/TLSv1.3/TLS_AES_128_GCM_SHA256"),
        (TLS | {"tls_resumed": 1, "tls_sni": ""}, b" 0/0000000000000000/0/0/1 -/TLSv1.3/TLS_AES_128_GCM_SHA256"),
        ({}, b" 0/-/-/-/0 -/-/-"),
    ],
)
def test_httpslog_tells_of_tls(path: Path, change: dict[str, Any], end: bytes) -> None:
    short = one(path, "httplog", SAMPLE | change, header=False)
    assert one(path, "httpslog", SAMPLE | change, header=False) == short + end


def test_json_tells_of_tls(path: Path) -> None:
    record = SAMPLE | TLS | {"tls_resumed": 1, "tls_client": 'Hash=1;Subject="CN=a"'}
    told = json.loads(one(path, "json", record))
    assert {key: value for key, value in told.items() if key.startswith("tls")} == {
        "tls_version": "TLSv1.3",
        "tls_cipher": "TLS_AES_128_GCM_SHA256",
        "tls_resumed": True,
        "tls_sni": "1wt.eu",
        "tls_client": 'Hash=1;Subject="CN=a"',
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # what HAProxy 2.6 wrote for the same events
        (
            {
                "tr": -1,
                "tw": -1,
                "tc": -1,
                "trr": -1,
                "ta": 501,
                "status": 408,
                "bytes_out": 0,
                "term": "cR--",
                "line": None,
            }
            | {"backend": "http-in", "server": "<NOSRV>", "beconn": 0, "srv_conn": 0},
            b'http-in http-in/<NOSRV> -1/-1/-1/-1/501 408 0 - - cR-- 1/1/0/0/0 0/0 "<BADREQ>"',
        ),
        ({"https": True}, b"http-in~ static/srv1 "),
        ({"retries": 3, "redispatched": True}, b" ---- 1/1/1/1/+3 0/0 "),
        ({"retries": 2}, b" ---- 1/1/1/1/2 0/0 "),
        ({"srv_queue": 12, "backend_queue": 7}, b" 12/7 "),
        ({"status": 0, "term": "CC--"}, b"/109 -1 2750 - - CC-- "),
        ({"line": b'GET /a"b#c\x80\xff<>\\{|} HTTP/1.1'}, b'"GET /a#22b#23c#80#FF<>\\{|} HTTP/1.1"'),
        ({"client": "2001:db8::7"}, b"2001:db8::7:33317 ["),
        ({"line": b""}, b'"<BADREQ>"'),
        ({"bytes_out": 2**64 - 1}, b" 18446744073709551615 - - "),
    ],
)
def test_httplog_variants(path: Path, change: dict[str, Any], expected: bytes) -> None:
    assert expected in one(path, "httplog", SAMPLE | change, header=False)


def test_json_line(path: Path) -> None:
    texts = {"request_id": "ab12", "trace_id": "5" * 32, "referer": "http://1wt.eu/"}
    line = one(path, "json", SAMPLE | texts | REASONS)
    assert json.loads(line) == {
        "time": "2009-02-06T11:14:14.655Z",
        "client": "10.0.1.2",
        "client_port": 33317,
        "frontend": "http-in",
        "backend": "static",
        "server": "srv1",
        "scheme": "http",
        "host": "1wt.eu",
        "method": "GET",
        "target": "/index.html",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_in": 345,
        "bytes_out": 2750,
        "duration_ms": 109.123,
        "request_ms": 10,
        "queue_ms": 0,
        "connect_ms": 30,
        "response_ms": 69,
        "termination": "----",
        "retries": 0,
        "redispatched": False,
        "connections": 1,
        "frontend_connections": 1,
        "backend_connections": 1,
        "server_connections": 1,
        "server_queue": 0,
        "backend_queue": 0,
        "user_agent": "Mozilla/5.0 (X11)",
        "referer": "http://1wt.eu/",
        "request_id": "ab12",
        "trace_id": "5" * 32,
        "reason": "connection refused",
    }


def test_json_has_null_for_what_never_was_and_leaves_out_what_nobody_sent(path: Path) -> None:
    nothing = {"host": None, "user_agent": b"", "line": None, "server": "<NOSRV>", "status": 0, "term": "CR--"}
    entry = json.loads(one(path, "json", SAMPLE | nothing | dict.fromkeys(("tr", "tw", "tc", "trr", "ta"), -1)))
    for key in ("server", "method", "target", "protocol", "status"):
        assert entry[key] is None, key
    for key in ("request_ms", "queue_ms", "connect_ms", "response_ms", "duration_ms"):
        assert entry[key] is None, key
    assert not {"host", "user_agent", "referer", "request_id", "trace_id", "reason"} & set(entry)
    assert entry["termination"] == "CR--"


def test_combined_line(path: Path) -> None:
    with local_time("Asia/Kolkata"):
        line = one(path, "combined", SAMPLE | {"user": "ann b", "referer": b'http://"1wt.eu\\\xe9/'})
    assert line == (
        b'10.0.1.2 - ann#20b [06/Feb/2009:16:44:14 +0530] "GET /index.html HTTP/1.1" 200 2750 "http://\\x221wt.eu\\x5C\\xE9/"'
        b' "Mozilla/5.0 (X11)"'
    )
    with local_time("America/St_Johns"):
        line = one(path, "combined", SAMPLE | {"line": None, "status": 0, "user_agent": None})
    assert line == b'10.0.1.2 - - [06/Feb/2009:07:44:14 -0330] "-" 000 2750 "-" "-"'


@pytest.mark.parametrize("format", FORMATS)
def test_flags_and_names_cannot_tear_a_line(path: Path, format: str) -> None:
    line = one(path, format, SAMPLE | {"term": b'\n"\\\0', "frontend": b"a b\nc", "server": b'x"y'}, header=False)
    if format == "json":
        entry = json.loads(line)
        assert (entry["termination"], entry["frontend"], entry["server"]) == ("----", "a b\nc", 'x"y')
    if format == "httplog":
        found = HTTPLOG.fullmatch(line)
        assert found and found["frontend"] == b"a#20b#0Ac" and found["server"] == b"x#22y" and found["term"] == b"----"


# ---- any input -------------------------------------------------------------------------------------------

numbers = (
    {
        "start_us": st.integers(0, 4102444800_000000),
        "status": st.integers(0, 999),
        "client_port": st.integers(0, 65535),
        "ta_us": st.integers(0, 2**32 - 1),
        "retries": st.integers(0, 255),
        "redispatched": st.booleans(),
        "https": st.booleans(),
        "minor": st.integers(0, 1),
        "bytes_out": st.integers(0, 2**64 - 1),
        "bytes_in": st.integers(0, 2**64 - 1),
    }
    | {name: st.integers(-1, 2**31 - 1) for name in ("tr", "tw", "tc", "trr", "ta")}
    | {
        name: st.integers(0, 2**32 - 1)
        for name in ("actconn", "feconn", "beconn", "srv_conn", "srv_queue", "backend_queue")
    }
)
# long runs of plain text with oddities in between reach every alignment of the eight-byte steps
texts = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda s: s.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from([b"abcdefgh", b"x", b'"', b"\\", b"#", b"\n", b"\x7f", b"\xc3\xa9", b"\xff", b" "])).map(
        b"".join
    ),
)
records = st.fixed_dictionaries(
    numbers,
    optional=dict.fromkeys(TEXTS, texts) | {"client": st.binary(max_size=10)},  # an address: it may take 64 bytes
)


def shown(raw: bytes | None) -> str | None:
    """What a JSON line shows of a field."""
    return raw.decode("utf-8", "backslashreplace") if raw else None


@TMP
@given(record=records)
def test_every_json_line_parses_and_gives_the_values_back(tmp_path: Path, record: dict[str, Any]) -> None:
    line = one(tmp_path / "log", "json", record)
    assert len(line.decode("utf-8").splitlines()) == 1
    entry = json.loads(line)
    for name in ("host", "user_agent", "referer", "request_id", "reason", "user"):
        assert entry.get(name) == shown(record.get(name)), name
    for name in ("client", "frontend", "backend"):
        assert entry[name] == (shown(record.get(name)) or "")
    parts = (record.get("line") or b"").split(b" ")
    if len(parts) < 3:
        assert (entry["method"], entry["target"], entry["protocol"]) == (None, shown(record.get("line")), None)
    else:
        middle = b" ".join(parts[1:-1])
        assert entry["method"] == parts[0].decode("utf-8", "backslashreplace")
        assert entry["target"] == middle.decode("utf-8", "backslashreplace")
        assert entry["protocol"] == parts[-1].decode("utf-8", "backslashreplace")
    for name in ("client_port", "bytes_in", "bytes_out", "retries", "redispatched", "server_queue", "backend_queue"):
        assert entry[name] == record[{"server_queue": "srv_queue"}.get(name, name)]
    assert entry["status"] == (record["status"] or None)
    for name, key in (("request_ms", "tr"), ("queue_ms", "tw"), ("connect_ms", "tc"), ("response_ms", "trr")):
        assert entry[name] == (record[key] if record[key] >= 0 else None)
    if record["ta"] >= 0:
        assert entry["duration_ms"] == pytest.approx(record["ta_us"] / 1000, abs=1e-9)
    when = datetime.fromtimestamp(record["start_us"] // 1_000_000, UTC)
    assert entry["time"] == f"{when:%Y-%m-%dT%H:%M:%S}.{record['start_us'] // 1000 % 1000:03}Z"


@TMP
@given(record=records)
def test_every_httplog_line_is_haproxys_format(tmp_path: Path, record: dict[str, Any]) -> None:
    words = {name: record.get(name) or b"w" for name in ("client", "frontend", "backend", "server")}
    words["backend"] = words["backend"].replace(b"/", b"_")
    words["frontend"] = words["frontend"].replace(b"~", b"_")
    line = one(tmp_path / "log", "httplog", record | words, header=False)
    found = HTTPLOG.fullmatch(line)
    assert found, line
    for name in ("tr", "tw", "tc", "trr", "ta", "bytes_out", "actconn", "srv_conn", "srv_queue", "backend_queue"):
        assert int(found[name]) == record[name], name
    assert int(found["status"]) == (record["status"] or -1)
    assert (found["tls"] == b"~") == record["https"] and (found["redispatched"] == b"+") == record["redispatched"]
    escaped = "".join(chr(c) if 0x20 <= c < 0x7F and c not in b'"#' else f"#{c:02X}" for c in record.get("line") or b"")
    assert found["line"] == (escaped.encode() or b"<BADREQ>")


@TMP
@given(record=records)
def test_every_combined_line_keeps_its_fields_apart(tmp_path: Path, record: dict[str, Any]) -> None:
    line = one(tmp_path / "log", "combined", record | {"client": b"::1"})
    assert line.count(b'"') == 6 and all(0x20 <= c < 0x7F for c in line)
    _, request, _, referer, _, agent, end = line.split(b'"')
    assert end == b""
    for text, name in ((request, "line"), (referer, "referer"), (agent, "user_agent")):
        raw = record.get(name) or b"-"
        assert text.decode("unicode_escape").encode("latin-1") == raw, name


def test_utf8_at_its_edges(path: Path) -> None:
    """Two bytes with what may follow them, at the ends of what is well-formed (Unicode table 3-7)."""
    leads = (0x7F, 0x80, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF)
    seconds = (0x00, 0x22, 0x5C, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xA8, 0xBF, 0xC0, 0xFF)
    tails = (b"", b"\x80", b"\xbf\xbf", b"\xa9z", b"\x80\x80\x80")
    cases = [bytes((a, b)) + tail for a in leads for b in seconds for tail in tails]
    cases += [b"1234567" + case for case in cases]
    lines = write(path, "json", *(SAMPLE | {"host": case} for case in cases))
    for line, case in zip(lines, cases, strict=True):
        assert json.loads(line)["host"] == shown(case), case


# ---- lengths ---------------------------------------------------------------------------------------------

# plain, doubled, and six times as long
FILLERS = (b"a", b'"', b"\x01", b"\xc3\xa9", b"\xff")
LARGEST: dict[str, Any] = {
    **dict.fromkeys(("actconn", "feconn", "beconn", "srv_conn", "srv_queue", "backend_queue", "ta_us"), 2**32 - 1),
    **dict.fromkeys(("tr", "tw", "tc", "trr", "ta"), 2**31 - 1),
    "bytes_in": 2**64 - 1,
    "bytes_out": 2**64 - 1,
    "status": 65535,
    "client_port": 65535,
    "retries": 255,
    "redispatched": True,
    "https": True,
    "start_us": 1233918854655321,
}


def longest(filler: bytes) -> dict[str, Any]:
    """Everything as long as it gets, of bytes that are written as `filler`."""
    line = filler * 500 + b" " + filler * 70_000 + b" " + filler * 99
    return LARGEST | dict.fromkeys(TEXTS, filler * 70_000) | {"line": line, "trace_id": "f" * 32}


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("format", FORMATS)
def test_the_longest_line_is_cut_but_whole(path: Path, format: str, filler: bytes) -> None:
    record = longest(filler)
    lines = write(path, format, record, record, header=format == "httplog", hostname="h" * 64)
    assert len(lines) == 2 and lines[0] == lines[1]
    assert 16_000 < len(lines[0]) < 28_000
    if format == "json":
        assert json.loads(lines[0])["target"].startswith(shown(filler) or "")
    if format == "httplog":
        assert HTTPLOG.search(lines[0])


# ---- halog -----------------------------------------------------------------------------------------------


def halog(path: Path, *options: str) -> str:
    with path.open("rb") as log:
        result = subprocess.run(
            [need("halog", "haproxy"), *options], stdin=log, capture_output=True, check=True, timeout=30
        )
    assert b" 0 parsing errors" in result.stderr or "-c" in options, result.stderr
    return result.stdout.decode()


def test_halog_reads_the_file(path: Path) -> None:
    failed = {
        "status": 503,
        "server": "<NOSRV>",
        "trr": -1,
        "tc": -1,
        "term": "SC--",
        "line": "POST /pay?id=1 HTTP/1.1",
    }
    bad = {"status": 400, "line": None, "tr": -1, "tw": -1, "tc": -1, "trr": -1, "term": "PR--", "server": "<NOSRV>"}
    odd = {"line": b'GET /a"b\\ \x00\xff HTTP/1.1', "client": "2001:db8::1", "https": True, "redispatched": True}
    write(path, "httplog", *[SAMPLE] * 5, SAMPLE | failed, SAMPLE | bad, SAMPLE | odd)
    assert halog(path, "-st").split("\n")[:-1] == ["200 6", "400 1", "503 1"]
    assert sorted(halog(path, "-tc").split("\n")[:-1]) == ["-- 6", "PR 1", "SC 1"]
    servers = {row.split()[0]: row.split()[1:] for row in halog(path, "-srv").splitlines()[1:]}
    assert servers["static/srv1"][1] == "6" and servers["static/srv1"][-2:] == ["30", "69"]
    assert servers["static/<NOSRV>"][3:5] == ["1", "1"]
    urls = {row.split()[-1]: row.split()[0] for row in halog(path, "-u").splitlines()[1:]}
    assert urls["/index.html"] == "5" and urls["/pay"] == "1"
    addresses = {row.split()[-1]: row.split()[0] for row in halog(path, "-ic").splitlines()[1:]}
    assert addresses == {"10.0.1.2": "7", "2001:db8::1": "1"}


@FEW
@given(batch=st.lists(records, min_size=1, max_size=20))
def test_halog_reads_any_line(tmp_path: Path, batch: list[dict[str, Any]]) -> None:
    path = tmp_path / "log"
    words = {"client": b"10.0.0.1", "frontend": b"f", "backend": b"b", "server": b"s"}
    write(path, "httplog", *(record | words for record in batch))
    assert halog(path, "-H", "-c").strip() == str(len(batch))
    rows = halog(path, "-st").split("\n")[:-1]
    assert sum(int(row.split()[1]) for row in rows) == len(batch)


# ---- arguments -------------------------------------------------------------------------------------------


def test_wrong_arguments_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="log format 'clf': expected one of json, httplog, httpslog, combined"):
        AccessLog(str(path), "clf")
    for target in ("syslog:tcp://h:1", "syslog:udp://h:0", "syslog:udp://h:x", "syslog:udp://:514", "", "a\0b"):
        with pytest.raises(ValueError, match="log target"):
            AccessLog(target)
    with pytest.raises(ValueError, match="path of a Unix socket"):
        AccessLog("syslog:unix:/" + "x" * 200)
    with pytest.raises(OSError, match="No such file"):
        AccessLog(str(path.parent / "none" / "access.log"))
    with pytest.raises(IsADirectoryError):
        AccessLog(str(path.parent))
    log = AccessLog("off")
    assert not log.enabled
    with pytest.raises(ValueError, match="unknown log fields: colour"):
        log.emit({"colour": 1})
    log.emit(SAMPLE)
    assert log.sync() and log.close() and log.written == 0
