"""The library's own API: fastlb.balance.Server, Balancer, NoServerAvailable, algorithms."""

from __future__ import annotations

import collections
import gc
import threading
import time
import weakref

import pytest

import fastlb.balance
from fastlb.balance import Balancer, NoServerAvailable, Server, algorithms

NAMES = [
    "consistent_hash", "first", "ip_hash", "least_connections", "least_time", "random", "round_robin", "two_choices",
    "weighted_round_robin",
]  # fmt: skip
KEYLESS = [n for n in NAMES if n not in ("consistent_hash", "ip_hash")]


def addresses(n: int) -> list[str]:
    return [f"10.0.{i // 256}.{i % 256}:80" for i in range(n)]


# ---- servers


@pytest.mark.parametrize(
    ("address", "host", "port", "path"),
    [
        ("10.0.0.1:80", "10.0.0.1", 80, ""),
        ("web-1.example.com:8080", "web-1.example.com", 8080, ""),
        ("[2001:db8::1]:443", "2001:db8::1", 443, ""),
        ("unix:/run/app.sock", "", 0, "/run/app.sock"),
    ],
)
def test_addresses(address: str, host: str, port: int, path: str) -> None:
    server = Server(address, name="web", weight=3, backup=True)
    assert (server.host, server.port, server.path) == (host, port, path)
    assert (server.address, server.name, server.weight, server.backup) == (address, "web", 3, True)
    assert Server(address).name == address
    assert repr(server) == f"Server({address!r}, name='web', weight=3, backup=True)"


@pytest.mark.parametrize(
    ("address", "nearest"),
    [
        ("10.0.0.1", "10.0.0.1:80"),
        ("10.0.0.1:", "10.0.0.1:80"),
        ("10.0.0.1:0", "10.0.0.1:1"),
        ("10.0.0.1:70000", "10.0.0.1:65535"),
        ("10.0.0.1:http", "10.0.0.1:80"),
        ("10.0.0.1:８０", "10.0.0.1:80"),
        ("10.0.0.256:80", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
        ("2001:db8:0:0:0:0:0:1", "[2001:db8:0:0:0:0:0:1]:80"),
        ("[::1]", "[::1]:80"),
        ("[::g]:80", "[::1]:80"),
        ("web 1:80", "web1:80"),
        ("http://web:80", "web:80"),
        ("/run/app.sock", "unix:/run/app.sock"),
        ("unix:app.sock", "unix:/app.sock"),
        ("", "127.0.0.1:80"),
        (80, "127.0.0.1:80"),
        (None, "127.0.0.1:80"),
    ],
)
def test_wrong_addresses_name_the_nearest_valid_one(address: object, nearest: str) -> None:
    with pytest.raises(ValueError, match="nearest valid") as caught:
        Server(address)
    assert str(caught.value).endswith(repr(nearest))
    assert Server(nearest)


@pytest.mark.parametrize(("weight", "nearest"), [(-1, "0"), (65536, "65535"), (1.5, "2"), (True, ""), ("3", "")])
def test_wrong_weights(weight: object, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"weight must be a whole number in 0\.\.65535.*{nearest}$"):
        Server("a:1", weight=weight)
    b = Balancer("round_robin", ["a:1"])
    with pytest.raises(ValueError, match="weight"):
        b.set_weight("a:1", weight)
    with pytest.raises(ValueError, match="name"):
        Server("a:1", name="")


# ---- construction


def test_algorithms() -> None:
    assert [n for n in algorithms() if n in NAMES] == NAMES


@pytest.mark.parametrize(
    ("algorithm", "options", "hint"),
    [
        ("rond_robin", {}, "round_robin"),
        ("Maglev", {}, "did you mean"),
        (None, {}, "unknown algorithm None"),
        ("consistent_hash", {"metod": "ring"}, "method"),
        ("consistent_hash", {"method": "rings"}, "ring"),
        ("consistent_hash", {"bound": 1.0}, "above 1"),
        ("consistent_hash", {"bound": float("nan")}, "number"),
        ("consistent_hash", {"method": "jump", "points": 9}, "'ring'"),
        ("consistent_hash", {"method": "ring", "points": 0.5}, "1"),
        ("two_choices", {"bound": 1.5}, "unknown option"),
        ("two_choices", {"panic_threshold": 2}, "1"),
        ("round_robin", {"slow_strat": 3}, "slow_start"),
        ("round_robin", {"max_connections": -1}, "1"),
        ("least_time", {"decay": "10s"}, "number"),
    ],
)
def test_wrong_names_and_options(algorithm: object, options: dict[str, object], hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Balancer(algorithm, ["a:1"], **options)


def test_empty_options_are_as_good_as_none() -> None:
    assert Balancer("round_robin", ["a:1"], method="", bound=0.0, slow_start=None, max_connections=0).pick()


@pytest.mark.parametrize("servers", [["a:1", "a:1"], [Server("a:1", name="x"), Server("b:1", name="x")], ["a"]])
def test_wrong_servers(servers: list[Server | str]) -> None:
    with pytest.raises(ValueError, match=r"already|nearest"):
        Balancer("round_robin", servers)


# ---- picking


@pytest.mark.parametrize("algorithm", NAMES)
def test_pick_and_release(algorithm: str) -> None:
    servers = [Server(a) for a in addresses(5)]
    b = Balancer(algorithm, servers)
    picked = [b.pick() for _ in range(20)] + [b.pick(key=f"key {i}") for i in range(20)] + [b.pick(b"key")]
    assert set(picked) <= set(servers)
    assert sum(b.in_flight(s) for s in servers) == 41
    for server in picked:
        b.release(server)
    assert [b.in_flight(s) for s in servers] == [0] * 5
    for server in servers:
        with pytest.raises(ValueError, match="more often than it was picked"):
            b.release(server)
    assert [b.in_flight(s) for s in servers] == [0] * 5


@pytest.mark.parametrize("algorithm", NAMES)
def test_nobody_left(algorithm: str) -> None:
    b = Balancer(algorithm, addresses(3))
    b.set_state(b.servers[0], "down")
    b.set_state(b.servers[1], "drain")
    assert {b.pick(f"{i}") for i in range(9)} == {b.servers[2]}
    b.set_weight(b.servers[2], 0)
    with pytest.raises(NoServerAvailable) as caught:
        b.pick("key")
    assert not caught.value.full
    with pytest.raises(NoServerAvailable):
        Balancer(algorithm).pick()


@pytest.mark.parametrize("algorithm", NAMES)
def test_limits(algorithm: str) -> None:
    b = Balancer(algorithm, addresses(3), max_connections=2)
    assert set(collections.Counter(b.pick("k") for _ in range(6)).values()) == {2}
    with pytest.raises(NoServerAvailable) as caught:
        b.pick("k")
    assert caught.value.full
    b.release(b.servers[1])
    assert b.pick("k") is b.servers[1]


@pytest.mark.parametrize("key", [1, 1.5, ["k"], object()])
@pytest.mark.parametrize("algorithm", ["round_robin", "consistent_hash", "least_time"])
def test_keys_are_text_or_bytes(algorithm: str, key: object) -> None:
    b = Balancer(algorithm, addresses(3))
    with pytest.raises(TypeError, match="key must be str or bytes"):
        b.pick(key)
    assert sum(b.in_flight(s) for s in b.servers) == 0


def test_release_says_how_it_went() -> None:
    b = Balancer("least_time", addresses(2), seed=1)
    for latency in (0, 0.25, 4294, 3):
        b.release(b.pick(), latency=latency)
    for latency in (-1, float("nan"), 5000, "1"):
        server = b.pick()
        with pytest.raises(ValueError, match="latency"):
            b.release(server, latency=latency)
        b.release(server, ok=False, latency=0.1)
        b.release(b.pick(), ok=None)
    with pytest.raises(TypeError):
        b.release("10.0.0.0:80")


def test_acquire() -> None:
    b = Balancer("least_connections", addresses(2))
    with b.acquire("key") as one, b.acquire() as two:
        assert {one, two} == set(b.servers)
        assert [b.in_flight(s) for s in b.servers] == [1, 1]
    assert [b.in_flight(s) for s in b.servers] == [0, 0]
    with pytest.raises(ZeroDivisionError), b.acquire():
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), b.acquire():
        raise KeyboardInterrupt
    assert [b.in_flight(s) for s in b.servers] == [0, 0]
    b.acquire()  # never entered: nothing taken
    lease = b.acquire()
    with lease, pytest.raises(RuntimeError), lease:
        pass
    assert [b.in_flight(s) for s in b.servers] == [0, 0]


def test_acquire_feeds_least_time() -> None:
    b = Balancer("least_time", addresses(2), seed=3)
    slow = b.servers[0]
    for _ in range(60):
        with b.acquire() as server:
            if server is slow:
                time.sleep(0.003)
    counts = collections.Counter()
    for _ in range(50):
        with b.acquire() as server:
            counts[server] += 1
    assert counts[slow] < 10


# ---- changes


def test_add_and_remove() -> None:
    b = Balancer("round_robin", addresses(2))
    new = b.add("10.9.9.9:80")
    assert isinstance(new, Server)
    assert b.servers[-1] is new
    assert len(b) == 3
    assert {b.pick() for _ in range(3)} == set(b.servers)
    with pytest.raises(ValueError, match="already"):
        b.add(new)
    b.remove(b.servers[0])
    assert {b.pick() for _ in range(4)} == set(b.servers)
    with pytest.raises(ValueError, match=r"did you mean '10\.9\.9\.9:80'"):
        b.remove("10.9.9.8:80")
    b.remove("10.9.9.9:80")
    assert len(b.servers) == 1


@pytest.mark.parametrize("algorithm", NAMES)
def test_removed_while_in_use(algorithm: str) -> None:
    b = Balancer(algorithm, addresses(4))
    held = [b.pick(f"{i}") for i in range(40)]
    gone = held[0]
    b.remove(gone)
    assert gone not in {b.pick(f"{i}") for i in range(40)}
    for server in held:
        b.release(server)
    with pytest.raises(ValueError, match="unknown server"):
        b.release(gone)
    b.add(gone)
    assert b.in_flight(gone) == 0


def test_removed_and_back_before_its_last_use_ended() -> None:
    b = Balancer("least_connections", addresses(2))
    one = b.servers[0]
    assert b.pick() is one
    b.remove(one)
    b.add(one)
    assert b.in_flight(one) == 1
    assert b.pick() is b.servers[0]  # the other one, idle
    b.release(one)
    with pytest.raises(ValueError, match="more often"):
        b.release(one)


@pytest.mark.parametrize("algorithm", NAMES)
def test_changes_between_picks(algorithm: str) -> None:
    """Servers come, go, change weight and state while uses are in flight."""
    b = Balancer(algorithm, addresses(6))
    held: list[Server] = []
    spare = [Server(f"10.5.5.{i}:80") for i in range(6)]
    for i in range(300):
        if i % 7 == 0 and len(b) > 3:
            spare.append(b.servers[i % len(b)])
            b.remove(spare[-1])
        if i % 11 == 0 and spare:
            b.add(spare.pop(0))
        b.set_weight(b.servers[i % len(b)], 1 + i % 5)
        b.set_state(b.servers[(i * 3) % len(b)], "down" if i % 2 else "up")
        up = {s for s in b.servers if b.state(s) == "up"}
        if up:
            server = b.pick(f"{i}")
            assert server in up
            held.append(server)
        if i % 3 == 0 and held:
            b.release(held.pop(i % len(held)))
    counts = collections.Counter(held)
    assert {s: b.in_flight(s) for s in b.servers} == {s: counts[s] for s in b.servers}
    for server in held:
        b.release(server)
    assert sum(b.in_flight(s) for s in b.servers) == 0


def test_states() -> None:
    b = Balancer("round_robin", addresses(2))
    one = b.servers[0]
    for state in ("down", "drain", "up"):
        b.set_state(one, state)
        assert b.state(one) == state
    with pytest.raises(ValueError, match="did you mean 'drain'"):
        b.set_state(one, "drained")
    with pytest.raises(ValueError, match="unknown server"):
        b.set_state(Server("10.0.0.0:80"), "up")  # another one at the same address


def test_backups_and_panic() -> None:
    servers = [Server("a:1"), Server("b:1"), Server("c:1", backup=True)]
    b = Balancer("two_choices", servers)
    assert {b.pick() for _ in range(50)} == set(servers[:2])
    for server in servers[:2]:
        b.set_state(server, "down")
    assert {b.pick() for _ in range(5)} == {servers[2]}
    p = Balancer("two_choices", addresses(4), panic_threshold=0.5)
    for server in p.servers[:3]:
        p.set_state(server, "down")
    assert {p.pick() for _ in range(200)} == set(p.servers)


def test_slow_start() -> None:
    b = Balancer("random", addresses(2), slow_start=60, seed=1)
    counts = collections.Counter(b.pick() for _ in range(2000))
    assert counts[b.servers[0]] == pytest.approx(1000, abs=150)  # not when made
    b.set_state(b.servers[0], "down")
    b.set_state(b.servers[0], "up")
    counts = collections.Counter(b.pick() for _ in range(4000))
    assert counts[b.servers[0]] / 4000 == pytest.approx(0.1 / 1.1, abs=0.03)
    new = b.add("10.7.7.7:80")
    counts = collections.Counter(b.pick() for _ in range(4000))
    assert counts[new] / 4000 == pytest.approx(0.1 / 1.2, abs=0.03)


def test_slow_start_ends() -> None:
    b = Balancer("weighted_round_robin", addresses(2), slow_start=0.02)
    b.set_state(b.servers[0], "down")
    b.set_state(b.servers[0], "up")
    deadline = time.monotonic() + 10
    while [b.pick() for _ in range(4)].count(b.servers[0]) != 2:
        assert time.monotonic() < deadline


# ---- one server, several balancers


def test_balancers_share_servers_but_no_counts() -> None:
    servers = [Server(a) for a in addresses(3)]
    one, two = Balancer("round_robin", servers), Balancer("round_robin", servers)
    held = [two.pick() for _ in range(3)]
    assert [one.in_flight(s) for s in servers] == [0, 0, 0]
    with pytest.raises(ValueError, match="more often"):
        one.release(held[0])
    one.set_state(servers[0], "down")
    assert two.state(servers[0]) == "up"
    del one
    for server in held:
        two.release(server)
    two.remove(servers[1])
    assert two.pick() in (servers[0], servers[2])
    with pytest.raises(ValueError, match="unknown server"):
        two.release(servers[1])


def test_a_balancer_that_is_gone_leaves_no_trace() -> None:
    servers = [Server(a) for a in addresses(3)]
    for _ in range(5):
        b = Balancer("two_choices", servers)
        held = b.pick()
        alive = weakref.ref(b)
        del b
        gc.collect()
        assert alive() is None
        other = Balancer("two_choices", servers)
        with pytest.raises(ValueError, match="more often"):
            other.release(held)


# ---- threads


@pytest.mark.parametrize("algorithm", ["two_choices", "least_connections", "weighted_round_robin", "consistent_hash"])
def test_threads(algorithm: str) -> None:
    b = Balancer(algorithm, addresses(50))
    stop = threading.Event()
    failures: list[BaseException] = []

    def use() -> None:
        try:
            while not stop.is_set():
                held = [b.pick("k") for _ in range(20)]
                for server in held:
                    b.release(server)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(300):
        b.set_weight(b.servers[i % 50], 1 + i % 4)
        b.set_state(b.servers[(i * 7) % 50], "down" if i % 2 else "up")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert [b.in_flight(s) for s in b.servers] == [0] * 50


def test_public_names() -> None:
    assert set(fastlb.balance.__all__) >= {"Server", "Balancer", "NoServerAvailable", "algorithms"}
