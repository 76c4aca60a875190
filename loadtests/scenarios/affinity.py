"""Who belongs to which server: baskets, caches, chat rooms."""

from loadtests.criteria import errors_at_most, latency_at_most, marks_at_least, servers_used
from loadtests.faults import kill, reload, restart
from loadtests.model import STEADY, Pool, Scenario, Service

STICKY = Scenario(
    name="sticky_sessions",
    title="Baskets that live in one server's memory",
    story="Every visitor's basket is known to one server alone; sent elsewhere, it is lost. A cookie of the balancer "
    "keeps visitors where they were.",
    users={"Shopper": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    pool=Pool(key="cookie:cart", sticky=True),
    criteria=(
        errors_at_most(0.0),
        marks_at_least("baskets kept", 1.0, "basket kept", "basket lost"),
        servers_used(4),
        latency_at_most(99, 0.15),
    ),
)

STICKY_LOSS = Scenario(
    name="sticky_server_lost",
    title="A server with baskets dies",
    story="One of four servers is killed and comes back empty. Its own visitors lose their baskets and are given to "
    "others; those of the others must not notice, neither when it goes nor when it comes back.",
    users={"Shopper": 1},
    peak=60,
    seconds=60,
    shape=STEADY,
    pool=Pool(key="cookie:cart", sticky=True),
    faults=(kill(0.35, "s2"), restart(0.65, "s2")),
    criteria=(
        errors_at_most(0.02),
        marks_at_least("baskets kept", 0.90, "basket kept", "basket lost"),
    ),
)

CACHE = Scenario(
    name="cache_affinity",
    title="Keys that servers keep in caches",
    story="Four servers remember 100 pages each of 300 that are asked for. Where a key stays on its server all of them "
    "fit; spread over all servers each would forget what the others just asked for.",
    users={"Reader": 1},
    peak=50,
    seconds=60,
    shape=STEADY,
    pool=Pool(balance="hash", key="path", service=Service(seconds=0.004, slots=64, cache=100)),
    criteria=(
        errors_at_most(0.0),
        marks_at_least("cache hits", 0.80, "cache hit", "cache miss"),
        servers_used(4),
    ),
)

CHAT = Scenario(
    name="websocket_chat",
    title="Chat over WebSockets",
    story="People in twelve rooms; a room lives in one server, so its members have to be brought together by the path. "
    "What one says comes back to him at once; nobody loses his connection, though a reload happens meanwhile.",
    users={"Chatter": 1},
    peak=60,
    seconds=60,
    shape=((0.0, 0.2), (0.2, 1.0), (1.0, 1.0)),
    pool=Pool(balance="hash", key="path"),
    faults=(reload(0.6),),
    criteria=(
        errors_at_most(0.0),
        marks_at_least("messages heard", 1.0, "message heard", "message lost"),
        latency_at_most(99, 0.2),
    ),
)

SCENARIOS = (STICKY, STICKY_LOSS, CACHE, CHAT)
