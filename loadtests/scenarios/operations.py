"""What operators do while traffic runs, and bytes in bulk."""

from loadtests.criteria import errors_at_most, latency_at_most, marks_at_least, servers_used
from loadtests.faults import reload, replace
from loadtests.model import STEADY, Pool, Scenario

ROLLING_DEPLOY = Scenario(
    name="rolling_deploy",
    title="Rolling deploy: drain, replace, take back",
    story="Each server in turn gets no new requests, finishes what it has, is replaced and taken back. Done properly, "
    "nobody notices a deployment.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    faults=tuple(replace(0.1 + 0.2 * i, f"s{i + 1}") for i in range(4)),
    criteria=(errors_at_most(0.0), latency_at_most(99, 0.2), servers_used(4, 0.9, 1.0)),
)

RELOADS = Scenario(
    name="reload_under_load",
    title="Reloads under load",
    story="The configuration is read again eight times while requests run. No connection may break for it.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    faults=tuple(reload(0.1 + 0.1 * i) for i in range(8)),
    criteria=(errors_at_most(0.0), latency_at_most(99, 0.2)),
)

BULK = Scenario(
    name="large_transfers",
    title="Large uploads and downloads beside visitors",
    story="Files of 256 KB to 4 MB both ways; every byte is counted at the other end. Visitors beside them must not "
    "wait behind a file.",
    users={"Downloader": 2, "Uploader": 1, "Browser": 4},
    peak=30,
    seconds=60,
    shape=STEADY,
    criteria=(
        errors_at_most(0.0),
        marks_at_least("downloads whole", 1.0, "download whole", "download cut"),
        marks_at_least("uploads whole", 1.0, "upload whole", "upload cut"),
        latency_at_most(50, 0.15),
    ),
    pool=Pool(balance="least_connections"),
)

SCENARIOS = (ROLLING_DEPLOY, RELOADS, BULK)
