"""Metrics of authentication and mirrors, which workers are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastlb.admin.exposition import Family, escaped
from fastlb.admin.routes_auth import auth_of, mirrors_of
from fastlb.spec import Spec

Counts = Mapping[str, int]
RESULTS = ("granted", "refused", "limited", "failed")
MIRRORED = ("sent", "same", "differing", "incomparable", "failed", "busy", "too_large", "unfit")

TRAFFIC: list[Family[Counts]] = [
    Family("fastlb_auth_requests_total", "counter", "Requests by what a table of [auth] decided.", label="result",
           values=lambda counts: [(result, counts[result]) for result in RESULTS]),
    Family("fastlb_mirror_requests_total", "counter", "Requests by what became of their copies.", label="result",
           values=lambda counts: [(result, counts[result]) for result in MIRRORED]),
]  # fmt: skip


def has_traffic(spec: Spec) -> bool:
    """Whether there is anything of it to ask workers for."""
    return bool(spec.auth) or any(f.mirror or any(r.mirror for r in f.routes) for f in spec.frontends)


def auth_rows(answers: Mapping[int, Any]) -> list[tuple[str, Counts]]:
    return [(f'auth="{escaped(one["name"])}"', one["counts"]) for one in auth_of(answers)]


def mirror_rows(answers: Mapping[int, Any]) -> list[tuple[str, Counts]]:
    return [
        (f'frontend="{escaped(m["frontend"])}",route="{escaped(m["route"])}",backend="{escaped(m["backend"])}"',
         m["counts"])
        for m in mirrors_of(answers)
    ]  # fmt: skip
