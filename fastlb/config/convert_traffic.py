"""From the tables of access, splits and faults to their parts of the `Spec`."""

from __future__ import annotations

from fastlb import spec

from .models_bandwidth import BandwidthTable
from .models_rates import RateLimitTable
from .models_traffic import AccessTable, FaultTable, SplitTable


def access(table: AccessTable | None) -> spec.Access | None:
    if table is None:
        return None
    return spec.Access(tuple(table.allow), tuple(table.deny), table.action, table.tarpit, table.tarpit_max)


def faults(tables: list[FaultTable]) -> tuple[spec.Fault, ...]:
    return tuple(spec.Fault(t.percent, t.delay, t.abort, t.header or "") for t in tables)


def bandwidths(tables: list[BandwidthTable]) -> tuple[spec.Bandwidth, ...]:
    return tuple(
        spec.Bandwidth(
            response=table.response,
            response_after=table.response_after,
            request=table.request,
            request_after=table.request_after,
            key=None if table.key is None else tuple(table.key),
            ipv4_prefix=table.ipv4_prefix,
            ipv6_prefix=table.ipv6_prefix,
            exempt=tuple(table.exempt),
        )
        for table in tables
    )


def rates(tables: list[RateLimitTable]) -> tuple[spec.RateLimit, ...]:
    return tuple(
        spec.RateLimit(
            rate=float(table.concurrent or table.rate or 0),
            burst=table.burst,
            key=tuple(table.key),
            ipv4_prefix=table.ipv4_prefix,
            ipv6_prefix=table.ipv6_prefix,
            exempt=tuple(table.exempt),
            dry_run=table.dry_run,
            of=table.counted,
            span=table.rate.span if table.rate is not None else 1.0,
            name=table.name,
            shared=table.shared,
        )
        for table in tables
    )


def split(table: SplitTable | None) -> spec.Split | None:
    return spec.Split(tuple(table.weights.items()), table.key or "") if table else None


def main_backend(table: SplitTable) -> str:
    """The backend of a split that has the largest weight: what stands for the route where only one can be shown."""
    return max(table.weights, key=lambda name: table.weights[name])
