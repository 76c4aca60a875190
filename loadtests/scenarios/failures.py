"""Servers that are slow, die, freeze and cannot make up their minds."""

from loadtests.criteria import (
    errors_at_most,
    evenly_spread,
    latency_at_most,
    rate_at_least,
    server_share_at_most,
    servers_used,
)
from loadtests.faults import freeze, kill, restart, sick, slow, thaw, well
from loadtests.model import STEADY, Scenario

SLOW_SERVER = Scenario(
    name="slow_server",
    least=60,  # fastlb compares servers every 10 s, and who was put aside for slowness gets more from second to second
    title="One slow server among fast ones",
    story="One of four servers becomes fifty times as slow for a while. Whoever counts what is in flight gives it "
    "little; by turns it would get a quarter, and a quarter of the visitors would wait.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    faults=(slow(0.2, "s3", 0.2), slow(0.55, "s3", 0.004)),
    criteria=(
        errors_at_most(0.0),
        server_share_at_most("s3", 0.12, 0.25, 0.55),
        latency_at_most(90, 0.2, 0.25, 0.55),
        evenly_spread(0.35, 0.9, 1.0),
    ),
)

SERVER_KILLED = Scenario(
    name="server_killed",
    least=25,
    title="A server is killed and restarted",
    story="SIGKILL in the midst of its work, later a new process on the same port. Requests that were safe to repeat "
    "are repeated elsewhere; afterwards the new one gets its share.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    faults=(kill(0.3, "s2"), restart(0.6, "s2")),
    criteria=(
        errors_at_most(0.005),
        rate_at_least(0.85, (0.35, 0.6), (0.05, 0.3)),
        servers_used(4, 0.8, 1.0),
        latency_at_most(99, 0.25, 0.35, 1.0),
    ),
)

SERVER_FROZEN = Scenario(
    name="server_frozen",
    least=30,
    title="A server freezes",
    story="SIGSTOP: its kernel still takes connections, but nobody answers. Only timeouts and checks can tell. What "
    "was on its way there is lost; what matters is how soon nobody else is sent there.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    faults=(freeze(0.3, "s1"), thaw(0.6, "s1")),
    criteria=(
        errors_at_most(0.02),
        errors_at_most(0.0, 0.85, 1.0),
        latency_at_most(95, 0.12, 0.7, 1.0),
    ),
)

FLAPPING = Scenario(
    name="flapping",
    least=15,
    title="A server that cannot make up its mind",
    story="Its health check says sick, well, sick, well. Visitors must not notice: what is in flight is finished, and "
    "its share of the traffic is the least of all troubles.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    faults=tuple(fault(0.1 + 0.1 * i, "s4") for i, fault in enumerate((sick, well) * 4)),
    criteria=(errors_at_most(0.0), latency_at_most(99, 0.2)),
)

SCENARIOS = (SLOW_SERVER, SERVER_KILLED, SERVER_FROZEN, FLAPPING)
