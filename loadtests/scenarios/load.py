"""Load as it comes: steady, rising, all at once, for long, and more than there is room for."""

from loadtests.criteria import errors_at_most, evenly_spread, goodput_at_least, latency_at_most, rate_at_least
from loadtests.model import STEADY, Pool, Scenario, Service, steps

STEADY_MIX = Scenario(
    name="steady_mix",
    title="Steady mix of visitors and API clients",
    story="People who look around and programs that ask evenly; nothing goes wrong. The ground that others stand on.",
    users={"Browser": 3, "ApiClient": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    criteria=(
        errors_at_most(0.0),
        latency_at_most(95, 0.060),
        latency_at_most(99, 0.120),
        evenly_spread(0.15, 0.1, 1.0),
    ),
)

RAMP = Scenario(
    name="ramp_to_saturation",
    title="Ramp until the servers are full",
    story="Five steps, the last of which asks for all that the servers can do. A balancer must not be the one that "
    "gives up first: the goodput of the last step is that of the servers.",
    users={"Hurried": 1},
    peak=50,  # 8 requests a second each: 400 of 400
    seconds=60,
    shape=steps(5),
    pool=Pool(service=Service(seconds=0.04, slots=4)),
    criteria=(errors_at_most(0.0), goodput_at_least(0.75, 0.85, 1.0), latency_at_most(99, 0.4, 0.0, 0.6)),
)

SPIKE = Scenario(
    name="spike",
    title="A spike of six times the visitors",
    story="For a fifth of the time there are six times as many visitors, then as few as before. Nobody is refused, and "
    "afterwards it is as if nothing had been.",
    users={"Browser": 1},
    peak=180,
    seconds=60,
    shape=((0.0, 1 / 6), (0.4, 1 / 6), (0.4, 1.0), (0.6, 1.0), (0.6, 1 / 6), (1.0, 1 / 6)),
    criteria=(
        errors_at_most(0.0),
        latency_at_most(99, 0.4, 0.4, 0.6),
        latency_at_most(95, 0.060, 0.7, 1.0),
    ),
)

SOAK = Scenario(
    name="soak",
    title="Soak",
    story="The steady mix for a long time (`--duration 3600`): latency must not creep. What becomes of memory and "
    "descriptors is watched by `python -m loadtests soak`.",
    users={"Browser": 3, "ApiClient": 1},
    peak=40,
    seconds=120,
    shape=STEADY,
    criteria=(errors_at_most(0.0), latency_at_most(99, 0.120, 0.0, 0.5), latency_at_most(99, 0.120, 0.5, 1.0)),
)

OVERLOAD = Scenario(
    name="overload",
    title="Twice as much as the servers can do",
    story="The servers can do 200 requests a second, 400 are asked for, and who is refused comes back at once. Letting "
    "everyone in would make everyone late: what counts is how many are still served within half a second.",
    users={"Hurried": 1},
    peak=50,
    seconds=60,
    shape=((0.0, 0.4), (0.2, 0.4), (0.2, 1.0), (0.8, 1.0), (0.8, 0.4), (1.0, 0.4)),
    pool=Pool(service=Service(seconds=0.08, slots=4), limit=4, queue=0.25),
    goal=0.5,
    criteria=(
        errors_at_most(0.01, 0.0, 0.2),
        goodput_at_least(0.70, 0.3, 0.8),
        rate_at_least(0.9, (0.9, 1.0), (0.05, 0.2)),
    ),
)

SCENARIOS = (STEADY_MIX, RAMP, SPIKE, SOAK, OVERLOAD)
