"""Metrics of limits: what rules of rate limits have refused, and what overload has cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastlb.admin.exposition import Family, escaped
from fastlb.control.memory import Given, overload_steps
from fastlb.control.rates import counts, rule_names
from fastlb.control.region import Region
from fastlb.runtime.rate_sync import SyncStatus
from fastlb.spec import Spec


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule, over all workers."""

    refused: int
    dry: int
    uncounted: int


def rule_families() -> list[Family[RuleRow]]:
    p = "fastlb_rate_limit"
    return [
        Family(f"{p}_refused_total", "counter", "Requests or connections that the rule refused.", lambda x: x.refused),
        Family(f"{p}_dry_run_total", "counter", "What the rule would have refused.", lambda x: x.dry),
        Family(f"{p}_uncounted_total", "counter", "Requests let through for lack of room to count them.",
               lambda x: x.uncounted),
    ]  # fmt: skip


def step_families() -> list[Family[Given]]:
    p = "fastlb_worker_overload"
    return [
        Family(f"{p}_step", "gauge", "Step of overload that the worker is at, 0 to 4.", lambda x: x.step),
        Family(f"{p}_pressure", "gauge", "Share in use of the resource that decides on it.", lambda x: x.pressure),
        Family(f"{p}_steps_total", "counter", "Steps taken.", lambda x: x.steps),
        Family(f"{p}_shed_total", "counter", "Idle connections that were ended early.", lambda x: x.shed),
        Family(f"{p}_reset_total", "counter", "Connections that were reset for their memory.", lambda x: x.reset),
    ]


def step_rows(region: Region, slots: Iterable[int]) -> list[tuple[str, Given]]:
    """Labels and steps of the workers."""
    return [(f'worker="{slot}"', overload_steps(region, slot)) for slot in slots]


def sync_families() -> list[Family[SyncStatus]]:
    """Of nodes that share rates; no samples elsewhere."""
    p = "fastlb_rate_limit_redis"
    return [
        Family(f"{p}_up", "gauge", "1 while rates are shared through Redis.", lambda x: int(x.up)),
        Family(f"{p}_exchanges_total", "counter", "Calls of Redis that told what was counted.", lambda x: x.exchanges),
        Family(f"{p}_errors_total", "counter", "Times that Redis did not answer.", lambda x: x.errors),
        Family(f"{p}_lost_total", "counter", "Counts that were not told for lack of room.", lambda x: x.lost),
    ]


def sync_rows(status: SyncStatus) -> list[tuple[str, SyncStatus]]:
    return [("", status)] if status.wanted else []


def rule_rows(region: Region, spec: Spec) -> list[tuple[str, RuleRow]]:
    """Labels and counts of each rule of the configuration."""
    return [
        (f'proxy="{escaped(frontend)}",route="{escaped(route)}",'
         f'rule="{escaped(limit.name or name.rpartition(" ")[2])}"',
         RuleRow(*counts(region, name)))
        for frontend, route, name, limit in rule_names(spec)
    ]  # fmt: skip
