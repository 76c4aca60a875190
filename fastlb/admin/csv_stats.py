"""HAProxy's statistics as CSV (`show stat`, `/stats;csv`), all columns in its order.

Columns are those of HAProxy 3.x (https://docs.haproxy.org/dev/management.html#9.1), names as its source writes them.
What fastlb does not have or does not know stays empty, as there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from fastlb.admin import words
from fastlb.admin.board import BATCH, BackendRow, FrontendRow, Row, ServerRow
from fastlb.control import counters as c
from fastlb.control.region import FULL_RAMP, Region
from fastlb.runtime.info import shown

COLUMNS = (
    "pxname", "svname", "qcur", "qmax", "scur", "smax", "slim", "stot", "bin", "bout", "dreq", "dresp", "ereq", "econ",
    "eresp", "wretr", "wredis", "status", "weight", "act", "bck", "chkfail", "chkdown", "lastchg", "downtime", "qlimit",
    "pid", "iid", "sid", "throttle", "lbtot", "tracked", "type", "rate", "rate_lim", "rate_max", "check_status",
    "check_code", "check_duration", "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other",
    "hanafail", "req_rate", "req_rate_max", "req_tot", "cli_abrt", "srv_abrt", "comp_in", "comp_out", "comp_byp",
    "comp_rsp", "lastsess", "last_chk", "last_agt", "qtime", "ctime", "rtime", "ttime", "agent_status", "agent_code",
    "agent_duration", "check_desc", "agent_desc", "check_rise", "check_fall", "check_health", "agent_rise",
    "agent_fall", "agent_health", "addr", "cookie", "mode", "algo", "conn_rate", "conn_rate_max", "conn_tot",
    "intercepted", "dcon", "dses", "wrew", "connect", "reuse", "cache_lookups", "cache_hits", "srv_icur", "src_ilim",
    "qtime_max", "ctime_max", "rtime_max", "ttime_max", "eint", "idle_conn_cur", "safe_conn_cur", "used_conn_cur",
    "need_conn_est", "uweight", "agg_server_status", "agg_server_check_status", "agg_check_status", "srid",
    "sess_other", "h1sess", "h2sess", "h3sess", "req_other", "h1req", "h2req", "h3req", "proto", "priv_idle_cur",
    "reqbin", "reqbout", "resbin", "resbout", "cache_hint_hits",
)  # fmt: skip

FRONTEND, BACKEND, SERVER = 0, 1, 2  # column `type`
# The proxies' numbers in `iid`: HAProxy counts frontends and backends together.
FIRST_FRONTEND = 1
FIRST_BACKEND = 2048

Cells = dict[str, int | str]


def header() -> str:
    """The first line."""
    return f"# {','.join(COLUMNS)},\n"


def lines(frontends: Sequence[FrontendRow], backends: Sequence[BackendRow], region: Region) -> Iterator[str]:
    """The whole table in pieces: frontends, then each backend's servers and the backend itself."""
    now = time.time()
    yield header() + "".join(_line(_frontend(row)) for row in frontends)
    for row in backends:
        for start in range(0, len(row.servers), BATCH):
            yield "".join(_line(_server(one, region, now)) for one in row.servers[start : start + BATCH])
        yield _line(_backend(row, region, now))


def _line(cells: Cells) -> str:
    return ",".join([_quoted(cells.get(column, "")) for column in COLUMNS]) + ",\n"


def _quoted(value: int | str) -> str:
    """RFC 4180; a line end inside a field would end the line for simple readers."""
    if isinstance(value, int):
        return str(value)
    if any(ch in value for ch in ',"\r\n'):
        return '"' + value.replace('"', '""').replace("\r", " ").replace("\n", " ") + '"'
    return value


def _common(row: Row) -> Cells:
    pace = row.pace
    cells: Cells = {
        "pxname": row.proxy,
        "bin": row[c.BYTES_IN],
        "bout": row[c.BYTES_OUT],
        "pid": 1,
        "hrsp_1xx": row[c.STATUS_1XX],
        "hrsp_2xx": row[c.STATUS_2XX],
        "hrsp_3xx": row[c.STATUS_3XX],
        "hrsp_4xx": row[c.STATUS_4XX],
        "hrsp_5xx": row[c.STATUS_5XX],
        "hrsp_other": row[c.STATUS_OTHER],
        "req_tot": row[c.REQUESTS],
        "mode": "http",
        "reqbin": row[c.BYTES_IN],
        "resbout": row[c.BYTES_OUT],
    }
    if pace is not None:
        cells |= {"req_rate": round(pace.rate), "req_rate_max": round(pace.rate_max)}
    return cells


def _times(row: Row, region: Region) -> Cells:
    """Mean milliseconds of the last 1024 requests, and the longest ever (upper bound of its bucket)."""
    cells: Cells = {}
    names = ("qtime", "ctime", "rtime", "ttime")
    for which, name in enumerate(names):
        if row.pace is not None:
            cells[name] = round(row.pace.means[which] / 1000)
        elif row[c.REQUESTS]:
            cells[name] = round(row[c.QUEUE_US + which] / row[c.REQUESTS] / 1000)
        if row[c.REQUESTS]:
            _, (longest,) = region.quantiles(row.kind, row.index, which, (1.0,))
            cells[f"{name}_max"] = round(longest / 1000)
        else:
            cells[f"{name}_max"] = 0
    return cells


def _frontend(row: FrontendRow) -> Cells:
    pace = row.pace
    cells = _common(row) | {
        "svname": "FRONTEND",
        "scur": row[c.OPEN],
        "smax": row[c.PEAK],
        "stot": row[c.CONNECTIONS],
        "dreq": row[c.DENIED],
        "dresp": 0,
        "ereq": row[c.BAD_REQUESTS],
        "status": "OPEN",
        "iid": FIRST_FRONTEND + row.index,
        "sid": 0,
        "type": FRONTEND,
        "rate_lim": 0,
        "addr": ", ".join(shown(address) for address in row.addresses),
        "mode": row.frontend.mode.value,
        "conn_tot": row[c.CONNECTIONS],
        "intercepted": row[c.INTERCEPTED],
        "h1sess": row[c.CONNECTIONS],
        "h1req": row[c.REQUESTS],
    }
    if row.limit:
        cells["slim"] = row.limit
    if pace is not None:
        cells |= {
            "rate": round(pace.conn_rate),
            "rate_max": round(pace.conn_rate_max),
            "conn_rate": round(pace.conn_rate),
            "conn_rate_max": round(pace.conn_rate_max),
        }
    return cells


def _served(row: Row, region: Region) -> Cells:
    """What backends and servers have in common."""
    cells: Cells = {
        "scur": row[c.CURRENT],
        "smax": row[c.PEAK],
        "stot": row[c.SELECTED],
        "lbtot": row[c.SELECTED],
        "dresp": 0,
        "econ": row[c.CONNECT_ERRORS],
        "eresp": row[c.RESPONSE_ERRORS],
        "wretr": row[c.RETRIES],
        "wredis": row[c.REDISPATCHES],
        "cli_abrt": row[c.CLIENT_ABORTS],
        "srv_abrt": row[c.SERVER_ABORTS],
    }
    if row.pace is not None:
        cells |= {"rate": round(row.pace.rate), "rate_max": round(row.pace.rate_max)}
    return cells | _times(row, region)


def _last_used(row: Row, now: float) -> int | str:
    if row.pace is None:
        return "" if row[c.REQUESTS] else -1
    return round(now - row.pace.used_at) if row.pace.used_at else -1


def _server(row: ServerRow, region: Region, now: float) -> Cells:
    server, status, standing = row.server, row.check, row.standing
    cells = (
        _common(row)
        | _served(row, region)
        | {
            "svname": server.name,
            "qcur": 0,  # waiting requests wait for the backend, not for one of its servers
            "qmax": 0,
            "scur": row.inflight,
            "smax": row.peak,
            "slim": row.limit or "",
            "status": words.server_status(row),
            "weight": row.effective_weight,
            "uweight": row.weight,
            "act": int(not server.backup),
            "bck": int(server.backup),
            "chkdown": standing.downs,
            "lastchg": round(now - (standing.turned or standing.since)),
            "downtime": round(standing.downtime(now)),
            "iid": FIRST_BACKEND + row.group,
            "sid": row.index + 1,
            "type": SERVER,
            "lastsess": _last_used(row, now),
            "addr": str(server.address),
            "mode": row.backend.mode.value,
            "connect": row[c.CONNECTIONS],
            "reuse": row[c.REUSED],
            "srv_icur": row[c.IDLE],
            "src_ilim": row.pool_limit,
            "idle_conn_cur": 0,  # every idle connection may serve every request: all are 'safe'
            "safe_conn_cur": row[c.IDLE],
            "used_conn_cur": row[c.CURRENT],
        }
    )
    if row.ramp < FULL_RAMP:
        cells["throttle"] = row.ramp * 100 // FULL_RAMP
    check = row.backend.health_check
    if status is not None and check is not None:
        cells |= {
            "chkfail": status.failed,
            "check_status": words.check_word(status),
            "check_desc": words.DESCRIPTIONS[words.check_word(status)],
            "check_rise": check.rise,
            "check_fall": check.fall,
            "check_health": words.check_health(status, check),
        }
        if status.last is not None:
            cells |= {
                "check_code": status.last.code or "",
                "check_duration": round(status.last.duration * 1000),
                "last_chk": words.check_text(status.last),
            }
    if row.agent is not None:
        last = row.agent.last
        word = words.agent_word(row.agent)
        cells |= {
            "agent_status": word,
            "agent_desc": words.DESCRIPTIONS[word],
            "agent_rise": 1,
            "agent_fall": 1,
            "agent_health": int(not row.agent.down),
        }
        if last is not None:
            cells |= {
                "agent_code": last.code or "",
                "agent_duration": round(last.duration * 1000),
                "last_agt": words.check_text(last),
            }
    return cells


def _backend(row: BackendRow, region: Region, now: float) -> Cells:
    standing = row.standing
    limits = [one.limit for one in row.servers]
    return (
        _common(row)
        | _served(row, region)
        | {
            "svname": "BACKEND",
            "qcur": row[c.QUEUED],
            "qmax": row[c.QUEUE_PEAK],
            "slim": sum(limits) if limits and all(limits) else "",
            "dreq": row[c.DENIED],
            "status": words.backend_status(row),
            "weight": sum(one.effective_weight for one in row.servers if one.usable),
            "uweight": sum(one.weight for one in row.servers if one.usable),
            "act": row.usable(backup=False),
            "bck": row.usable(backup=True),
            "chkdown": standing.downs,
            "lastchg": round(now - (standing.turned or standing.since)),
            "downtime": round(standing.downtime(now)),
            "iid": FIRST_BACKEND + row.index,
            "sid": 0,
            "type": BACKEND,
            "lastsess": _last_used(row, now),
            "mode": row.backend.mode.value,
            "algo": words.ALGORITHMS.get(row.backend.balance.algorithm, row.backend.balance.algorithm),
            "connect": row.summed(c.CONNECTIONS),
            "reuse": row.summed(c.REUSED),
            "h1req": row[c.REQUESTS],
        }
    )
