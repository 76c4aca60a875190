"""Names that stand for several servers: what the API and the metrics tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from fastlb.admin.exposition import Family, escaped
from fastlb.admin.shapes import DiscoverView
from fastlb.control.names import Lookups
from fastlb.runtime.service import Service
from fastlb.spec import Backend, Discover


@dataclass(slots=True)
class SourceRow:
    """One `discover` table of a backend."""

    backend: str
    discover: Discover
    servers: int  # that are used
    leaving: int  # that are drained because the name no longer stands for them
    found: int  # that the last good answer has
    lookups: Lookups


def source_rows(service: Service, backend: Backend) -> list[SourceRow]:
    """Of one backend of the current configuration."""
    rows = []
    for discover in backend.discover:
        named = [s for s in backend.servers if s.source == str(discover) and s.resolved]
        leaving = sum(service.discovery.leaves(backend.name, s.address) for s in named)
        lookups = service.discovery.lookups.get(discover.question, Lookups())
        rows.append(
            SourceRow(backend.name, discover, len(named) - leaving, leaving, service.discovery.found(discover), lookups)
        )
    return rows


def source_view(row: SourceRow) -> DiscoverView:
    told = row.lookups
    return {
        "source": str(row.discover),
        "servers": row.servers,
        "leaving": row.leaving,
        "found": row.found,
        "max_servers": row.discover.max_servers,
        "ttl": told.ttl if told.ttl >= 0 else None,
        "found_at": datetime.fromtimestamp(told.found_at, UTC) if told.found_at else None,
        "lookups": told.found,
        "failed_lookups": told.failed,
        "problem": told.reason,
    }


FAMILIES: list[Family[SourceRow]] = [
    Family("fastlb_discovery_servers", "gauge", "Servers that a name stands for, by what becomes of them.",
           label="state",
           values=lambda row: [("used", row.servers), ("leaving", row.leaving),
                               ("over_limit", max(0, row.found - row.discover.max_servers))]),
    Family("fastlb_discovery_lookups_total", "counter", "Look-ups of a name that stands for servers, by result.",
           label="result", values=lambda row: [("found", row.lookups.found), ("failed", row.lookups.failed)]),
    Family("fastlb_discovery_failing", "gauge", "1 while the last look-up has failed.",
           lambda row: int(bool(row.lookups.reason))),
    Family("fastlb_discovery_last_found_timestamp_seconds", "gauge",
           "When a look-up last found servers, seconds since 1970.", lambda row: row.lookups.found_at or None),
]  # fmt: skip


def labelled(rows: Iterable[SourceRow]) -> list[tuple[str, SourceRow]]:
    """With the labels of each."""
    return [(f'proxy="{escaped(row.backend)}",source="{escaped(str(row.discover))}"', row) for row in rows]
