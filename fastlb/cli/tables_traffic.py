"""Authentication and mirrors as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .output import safe, table

Told = Any


def auth(told: Told) -> list[str]:
    """A line a table of [auth]."""
    names = ("granted", "cached", "refused", "limited", "failed")
    rows = [(safe(one["name"]), *(str(one["counts"][name]) for name in names)) for one in told["auth"]]
    return table(("auth", *names), rows, right=names)


def mirrors(told: Told) -> Iterator[str]:
    """A line a mirror, then the last differences."""
    columns = ("copies", "same", "differ", "failed", "not made", "status", "headers", "body")
    rows = []
    for one in told["mirrors"]:
        c = one["counts"]
        counts = (c["sent"], c["same"], c["differing"], c["failed"], c["busy"] + c["too_large"] + c["unfit"])
        what = (c["by_status"], c["by_headers"], c["by_body"])
        rows.append((safe(one["frontend"]), safe(one["route"]), safe(one["backend"]), *map(str, counts + what)))
    yield from table(("frontend", "route", "mirror", *columns), rows, right=columns)
    for one in told["mirrors"]:
        for example in one["examples"]:
            real, copy = example["real"], example["mirror"]
            yield ""
            yield f"{safe(example['line'])} from {safe(example['client'])}: {', '.join(example['what'])}"
            yield f"  status   {real['status']} and {copy['status']}, {real['ms']:.1f} and {copy['ms']:.1f} ms"
            yield f"  body     {real['length']} and {copy['length']} bytes"
            for header in example["headers"]:
                yield f"  {safe(header['name'])}: {safe(str(header['real']))} and {safe(str(header['mirror']))}"
