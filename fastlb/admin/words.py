"""HAProxy's words and numbers for what fastlb knows, for its CSV, its exporter's metrics and the stats page."""

from __future__ import annotations

from fastlb.admin.board import BackendRow, ServerRow
from fastlb.runtime.extras import AgentStatus, CheckStatus, CheckVerdict, CheckWord
from fastlb.spec import HealthCheck

# check_desc of HAProxy's statistics
DESCRIPTIONS = {
    "INI": "Initializing",
    "SOCKERR": "Socket error",
    "L4OK": "Layer4 check passed",
    "L4TOUT": "Layer4 timeout",
    "L4CON": "Layer4 connection problem",
    "L6OK": "Layer6 check passed",
    "L6TOUT": "Layer6 timeout",
    "L6RSP": "Layer6 invalid response",
    "L7OK": "Layer7 check passed",
    "L7TOUT": "Layer7 timeout",
    "L7RSP": "Layer7 invalid response",
    "L7STS": "Layer7 wrong status",
    "PROCOK": "External check passed",
    "PROCERR": "External check error",
    "PROCTOUT": "External check timeout",
}
CHECK_WORDS = ("INI", *(word.value for word in CheckWord))
SERVER_STATES = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")

# HAProxy's names of the algorithms that both have
ALGORITHMS = {
    "round_robin": "static-rr",
    "weighted_round_robin": "roundrobin",
    "least_connections": "leastconn",
    "two_choices": "random",
    "random": "random",
    "ip_hash": "source",
    "first": "first",
    "consistent_hash": "hash",
}


def state_word(row: ServerRow) -> str:
    """One of SERVER_STATES. A server of weight 0 drains; one that the workers took out is DOWN."""
    if row.state == "EJECTED":
        return "DOWN"
    return "DRAIN" if row.state == "UP" and row.weight == 0 else row.state


def server_status(row: ServerRow) -> str:
    """The status column: 'UP', 'UP 1/3' on its way down, 'DOWN 1/2' on its way up, 'no check', 'MAINT', 'DRAIN'."""
    word = state_word(row)
    if word in ("UP", "DOWN") and not row.server.resolved:
        return "MAINT (resolution)"
    check = row.check
    if check is None:
        return "no check" if word == "UP" else word
    if word == "UP" and check.up and check.streak:
        return f"UP {check.needed - check.streak}/{check.needed}"
    if word == "DOWN" and not check.up and check.streak:
        return f"DOWN {check.streak}/{check.needed}"
    return word


def backend_status(row: BackendRow) -> str:
    """UP or DOWN."""
    return row.state


def check_word(status: CheckStatus) -> str:
    """check_status: how the last check ended, INI before the first."""
    return status.last.word.value if status.last is not None else "INI"


def agent_word(status: AgentStatus) -> str:
    """agent_status: how the last attempt to ask the agent ended, INI before the first."""
    return status.last.word.value if status.last is not None else "INI"


def check_text(verdict: CheckVerdict | None) -> str:
    """last_chk in HAProxy's manner: 'L7STS/500: status 500 in 1ms'."""
    if verdict is None:
        return ""
    code = f"/{verdict.code}" if verdict.code else ""
    info = f": {verdict.info}" if verdict.info else ""
    return f"{verdict.word}{code}{info} in {verdict.duration * 1000:.0f}ms"


def check_health(status: CheckStatus, check: HealthCheck) -> int:
    """HAProxy's health: 0 to rise + fall - 1, up from `rise` on."""
    return check.rise + check.fall - 1 - status.streak if status.up else status.streak
