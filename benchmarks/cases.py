"""What is measured, and beside what: every case is a statement of ours and its baseline over the same names.

Fixed work, no sockets, no clock inside. `thresholds.toml` holds what each ratio usually is; `judge.py` measures it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httptools
import jump
import prometheus_client
import roundrobin

from benchmarks import plain
from benchmarks.test_balance import KEY, SIZES, balancer
from benchmarks.test_http import CHUNKS, REQUESTS, RESPONSES, head
from benchmarks.test_log import RECORD
from benchmarks.test_router import HEAD, by_host, by_path
from benchmarks.test_rules import BROWSER, PLANS, RESPONSE
from fastlb._core.region import Region
from fastlb.admin.exposition import Family
from fastlb.engine.access_log import FORMATS, AccessLog
from fastlb.engine.rate_limit import RateLimits, RateRule
from fastlb.engine.router import Router
from fastlb.engine.stick_table import StickTable
from fastlb.engine.timer_probe import TimerProbe
from fastlb.http import ChunkedDecoder, RequestParser, ResponseParser
from fastlb.http.rewrite import ResponsePlan
from tests.oracle.hashing import ip_hash


@dataclass(frozen=True, slots=True)
class Case:
    """`names` makes what both statements use, once a run. `before` runs ahead of every sample, untimed."""

    name: str
    subject: str
    baseline: str
    beside: str  # what the baseline is, in words
    names: Callable[[], dict[str, Any]]
    before: str = ""


REBUILT = (
    "round_robin", "weighted_round_robin", "random", "two_choices", "least_time", "first", "least_connections",
)  # fmt: skip


def _balance() -> Iterator[Case]:
    for n in SIZES:
        weights = [1 + i % 5 for i in range(n)]

        def pick(
            algorithm: str, statement: str, baseline: str, beside: str, n: int = n, label: str = "", **more: Any
        ) -> Case:
            options = more.pop("options", {})
            what = "use" if "release" in statement else "pick"
            return Case(
                f"{what}/{label or algorithm}/{n}",
                statement,
                baseline,
                beside,
                lambda: {"b": balancer(algorithm, n, **options), "key": KEY, **{k: v() for k, v in more.items()}},
            )

        pairs = list(zip(plain.addresses(n), weights, strict=True))
        yield pick("round_robin", "b.pick()", "p()", "roundrobin.basic", p=lambda n=n: roundrobin.basic(list(range(n))))
        yield pick(
            "weighted_round_robin", "b.pick()", "p()", "roundrobin.weighted", p=lambda w=pairs: roundrobin.weighted(w)
        )
        yield pick("random", "b.pick()", "p()", "random.random", p=lambda: plain.random.random)
        for algorithm in ("two_choices", "least_time", "first"):
            yield pick(
                algorithm, "b.release(b.pick())", "p()", "two choices in Python", p=lambda n=n: plain.TwoChoices(n).use
            )
        yield pick(
            "least_connections",
            "b.release(b.pick())",
            "p()",
            "a heap in Python",
            p=lambda n=n: plain.LeastConnections(n).use,
        )
        hashed = {"statement": "b.pick(key)", "algorithm": "consistent_hash"}
        for method, oracle, beside in (
            ("maglev", plain.table_pick, "a table in Python"),
            ("ring", plain.ring_pick, "bisect in Python"),
            ("rendezvous", plain.rendezvous_pick, "max() in Python"),
        ):
            yield pick(
                **hashed, label=method, options={"method": method}, baseline="p(key)", beside=beside,
                p=lambda n=n, oracle=oracle: oracle(n),
            )  # fmt: skip
        yield pick(
            "consistent_hash", "b.release(b.pick(key))", "p()", "two choices in Python", label="bounded load",
            options={"method": "ring", "bound": 1.25}, p=lambda n=n: plain.TwoChoices(n).use,
        )  # fmt: skip
        yield pick(
            **hashed, label="jump", options={"method": "jump"}, baseline=f"p(81985529216486895, {n})",
            beside="jump-consistent-hash", p=lambda: jump.hash,
        )  # fmt: skip
        yield Case(
            f"pick/ip_hash/{n}", "b.pick(ip)", "p(octets)", "the same hash in Python",
            lambda n=n: {"b": balancer("ip_hash", n), "ip": "10.1.2.3", "p": ip_hash, "octets": bytes((10, 1, 2, 3))},
        )  # fmt: skip
        for algorithm in REBUILT:
            yield _rebuild(algorithm, n, weights)
        yield _rebuild("ip_hash", n, weights, key="10.1.2.3")
        for method in ("maglev", "ring", "jump", "rendezvous"):
            yield _rebuild("consistent_hash", n, weights, method=method)


def _rebuild(algorithm: str, n: int, weights: list[int], key: str = KEY, **options: object) -> Case:
    def names() -> dict[str, Any]:
        b = balancer(algorithm, n, **options)
        return {"b": b, "s": b.servers[n // 2], "w": itertools.cycle([7, 3]), "key": key, "weights": weights}

    statement = "b.set_weight(s, next(w)); b.release(b.pick(key))"
    return Case(
        f"rebuild/{options.get('method', algorithm)}/{n}", statement, "sorted(weights); sum(weights)",
        "sorted() and sum() of the weights", names,
    )  # fmt: skip


def _http() -> Iterator[Case]:
    for shape, raw in REQUESTS.items():
        yield Case(
            f"request head/{shape}", "feed(raw)", "peer(raw)", "httptools",
            lambda raw=raw: {
                "feed": RequestParser().feed, "raw": raw,
                "peer": httptools.HttpRequestParser(plain.Collector()).feed_data,
            },
        )  # fmt: skip
    for shape, raw in RESPONSES.items():
        yield Case(
            f"response head/{shape}", "feed(raw)", "peer(raw)", "httptools",
            lambda raw=raw: {
                "feed": ResponseParser().feed, "raw": raw,
                "peer": httptools.HttpResponseParser(plain.Collector()).feed_data,
            },
        )  # fmt: skip
    for shape, raw in CHUNKS.items():
        for what in ("scan", "feed"):
            yield Case(
                f"chunked {what}/{shape}", "feed(raw)", "peer(raw)", "httptools", lambda w=what, r=raw: _chunked(w, r)
            )
    for plan in PLANS:
        yield Case(
            f"rewrite request/{plan}", "apply(raw, client='10.0.0.1', request_id='0' * 32, repeat=100)", "peer(100)",
            "split and join in Python",
            lambda p=plan: {"apply": PLANS[p].apply, "raw": BROWSER, "peer": plain.repeat(plain.rewrite, BROWSER)},
        )  # fmt: skip
    yield Case(
        "rewrite response", "apply(raw, repeat=100)", "peer(100)", "split and join in Python",
        lambda: {"apply": ResponsePlan(()).apply, "raw": RESPONSE, "peer": plain.repeat(plain.rewrite, RESPONSE)},
    )  # fmt: skip


def _chunked(what: str, raw: bytes) -> dict[str, Any]:
    begun = httptools.HttpRequestParser(plain.Collector())
    begun.feed_data(head(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked"))
    return {"feed": getattr(ChunkedDecoder(), what), "raw": raw, "peer": begun.feed_data}


def _routing() -> Iterator[Case]:
    for n in (10, 1_000, 100_000):
        last = n - 1
        tables = {
            "host": (by_host, HEAD % (b"/p%d/some/path/page.html" % (last % 7), b"h%d.example.com" % last)),
            "path": (by_path, HEAD % (b"/service%d/some/path/page.html" % last, b"www.example.com")),
        }
        for kind, (make, raw) in tables.items():
            yield Case(
                f"route by {kind}/{n}", "find(raw, '10.0.0.1', repeat=300)", "peer(table, key, 300)", "a dictionary",
                lambda make=make, raw=raw, n=n: {
                    "find": Router(make(n)).find, "raw": raw, "peer": plain.lookups,
                    "table": {b"h%d.example.com" % i: i for i in range(n)}, "key": b"h%d.example.com" % (n - 1),
                },
            )  # fmt: skip
    yield Case(
        "routing table/1000", "Router(routes)", "dumps(shape)", "json.dumps of 10,000 numbers",
        lambda: {"Router": Router, "routes": by_host(1_000), "dumps": json.dumps, "shape": list(range(10_000))},
    )  # fmt: skip


def _engine() -> Iterator[Case]:
    for n in (100, 10_000):
        for what in ("later", "sooner"):
            yield Case(
                f"timers {what}/{n}", f"move({10_000 // n})", f"heap({1_000 // n or 1})", "heapq",
                lambda what=what, n=n: {"move": getattr(TimerProbe(n), what), "heap": plain.heap_timers(n)},
            )  # fmt: skip
    for what, keys in (("one key", 1), ("10000 keys", 10_000)):
        yield Case(
            f"rate limit/{what}", "check(next(k), 1.0)", "peer(next(k), 1.0)", "a token bucket in a dictionary",
            lambda keys=keys: {
                "check": RateLimits([RateRule("r", 1e6, 1000)], slots=32_768).check,
                "peer": plain.TokenBucket(1e6, 1000).check,
                "k": itertools.cycle([f"client-{i}" for i in range(keys)]),
            },
        )  # fmt: skip
    for what, statement in (("look up", "t.lookup(next(k), 1.0)"), ("enter", "t.enter(next(k), 3, 1.0)")):
        for keys in (1, 10_000):
            yield Case(
                f"stick table {what}/{keys}", statement, "peer(next(k), 3, 1.0)", "a dictionary with times in Python",
                lambda keys=keys: _sticking(keys),
            )  # fmt: skip
    for form in FORMATS:
        yield Case(
            f"log line/{form}", "log.emit_many(record, 200)", "peer(200)", "json.dumps",
            lambda form=form: {
                "log": AccessLog("/dev/null", form), "record": RECORD, "peer": plain.repeat(json.dumps, RECORD),
            },
            before="log.sync()",
        )  # fmt: skip


def _sticking(keys: int) -> dict[str, Any]:
    table = StickTable(buckets=8192, expire=3600.0)
    names = [f"visitor-{i}".encode() for i in range(keys)]
    for name in names:
        table.enter(name, 3, 0.0)
    return {"t": table, "k": itertools.cycle(names), "peer": plain.Sticky(3600.0).enter}


def _metrics() -> Iterator[Case]:
    def region() -> Region:
        made = Region.create(False, 2)
        for i in range(100):
            made.assign_server(i, 0)
            made.record(0, "server", i, 3, 1000 + i, 5)
        return made

    yield Case(
        "metrics/count and record", "r.count(0, 'server', 7, 1); r.record(0, 'server', 7, 3, 1234)",
        "c.inc(); h.observe(0.001234)", "prometheus_client",
        lambda: {
            "r": region(),
            "c": prometheus_client.Counter("c", "c", registry=None),
            "h": prometheus_client.Histogram("h", "h", registry=None),
        },
    )  # fmt: skip
    yield Case(
        "metrics/totals of a server", "r.server_totals(7)", "sums(shards)", "sums in Python",
        lambda: {"r": region(), "sums": plain.sums, "shards": [[1] * 24 for _ in range(3)]},
    )  # fmt: skip
    yield Case(
        "metrics/quantiles of a server", "r.quantiles('server', 7, 3, (0.5, 0.95, 0.99))", "sums(shards)",
        "sums in Python", lambda: {"r": region(), "sums": plain.sums, "shards": [[1] * 200 for _ in range(3)]},
    )  # fmt: skip
    yield Case(
        "metrics/a family of 1000 rows", "''.join(family.lines(rows))", "dumps(shape)", "json.dumps of 1,000 pairs",
        lambda: {
            "family": Family("x_total", "counter", "x", lambda row: row),
            "rows": [(f'backend="b",server="s{i}"', i) for i in range(1_000)],
            "dumps": json.dumps, "shape": [[f"s{i}", i] for i in range(1_000)],
        },
    )  # fmt: skip


CASES: dict[str, Case] = {case.name: case for part in (_balance, _http, _routing, _engine, _metrics) for case in part()}
