"""Clients who mean no good, and the good ones beside them."""

from loadtests.criteria import errors_at_most, latency_at_most, marks_at_least, marks_at_most
from loadtests.model import STEADY, Pool, Scenario

SLOW_CLIENTS = Scenario(
    name="slow_clients",
    title="Clients that trickle their requests",
    story="A third of the connections send a byte every quarter of a second and never finish a head. They are shown "
    "the door after `timeouts.header`, and cost the others nothing.",
    users={"SlowClient": 1, "Browser": 2},
    peak=90,
    seconds=60,
    shape=STEADY,
    pool=Pool(header=3.0),
    criteria=(
        errors_at_most(0.0),
        marks_at_least("slow clients cut off", 1.0, "slow client cut off", "slow client tolerated"),
        latency_at_most(99, 0.15),
    ),
)

ABUSE = Scenario(
    name="rate_limited_abuser",
    title="Abusers beside good clients",
    story="Clients are allowed 10 requests a second each. Three hammer with 60; the others ask 4. The former get 429 "
    "for what is over, the latter never do, and notice nothing.",
    users={"Abuser": 1, "GoodClient": 10},
    peak=33,
    seconds=60,
    shape=STEADY,
    pool=Pool(rate=10),
    criteria=(
        errors_at_most(0.0),
        marks_at_most("good clients refused", 0.0, "good refused", "good served"),
        marks_at_least("abusers refused", 0.70, "abuser refused", "abuser served"),
        latency_at_most(99, 0.12),
    ),
)

SCENARIOS = (SLOW_CLIENTS, ABUSE)
