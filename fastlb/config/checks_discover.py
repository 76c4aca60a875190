"""Checks of names that stand for several servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .models_backends import BACKUP_TIER, BackendTable
from .paths import Path
from .structure import Finding

Wrote = Callable[[Path, str], bool]


def discover(path: Path, backend: BackendTable, wrote: Wrote) -> Iterator[Finding]:
    """What is wrong with the `discover` of one backend; `path` is the backend's."""
    seen: dict[object, int] = {}
    listed = {server.address for server in backend.servers}
    for index, table in enumerate(backend.discover):
        place: Path = (*path, "discover", index)
        if table.dns is None and not table.srv:
            if not wrote(place, "dns") and not wrote(place, "srv"):
                yield Finding(place, "needs a name: dns or srv", missing=True)
            continue
        if table.dns is not None and table.srv:
            yield Finding((*place, "srv"), "only one of dns and srv")
        if table.srv and wrote(place, "weight"):
            yield Finding((*place, "weight"), "is only for dns: SRV records tell their own")
        if table.backup and table.tier:
            yield Finding((*place, "tier"), BACKUP_TIER, "0")
        key = table.dns or table.srv
        if key in seen:
            yield Finding((*place, "dns" if table.dns else "srv"), f"the same name as in discover[{seen[key]}]")
        seen.setdefault(key, index)
        if table.dns in listed:
            yield Finding((*place, "dns"), "is one of the servers as well, which is one address of the name only")
