"""docs/metrics.md and docs/admin-api.md: every metric with its text, every route, and no other."""

from __future__ import annotations

import re

from fastlb._core.region import Region
from fastlb.admin import discover, metrics, metrics_haproxy, metrics_limits
from fastlb.admin.app import build
from fastlb.admin.exposition import Family, Histogram
from fastlb.config import check_text
from fastlb.control.ladder import BOUNDS
from fastlb.control.past import Past
from tests.admin.inside import inside, make_backend, make_spec
from tests.helpers import ROOT

METRICS = (ROOT / "docs" / "metrics.md").read_text()
API = (ROOT / "docs" / "admin-api.md").read_text()


def test_every_metric_is_described() -> None:
    region, past = Region.create(False, 1), Past()
    families: list[Family[object] | Histogram[object]] = [
        metrics.BUILD,
        *metrics.process_families(),
        *metrics.worker_families(),
        *metrics_limits.step_families(),
        *metrics_limits.sync_families(),
        *metrics.frontend_families(region, past),
        *metrics_limits.rule_families(),
        *discover.FAMILIES,
        *metrics.backend_families(region, past),
        *metrics.server_families(region, past),
        *metrics_haproxy.process_families(),
        *metrics_haproxy.frontend_families(),
        *metrics_haproxy.backend_families(region, 0.0),
        *metrics_haproxy.server_families(region, 0.0),
    ]  # type: ignore[list-item]
    rows = re.findall(r"^\| `(\w+)`(?: `\{(\w+)\}`)? \| (\w+) \| (.*) \|$", METRICS, re.MULTILINE)
    expected = []
    for family in families:
        label = family.label if isinstance(family, Family) else ""
        note = " With `?extra-counters`." if family.extra else ""
        expected.append((family.name, label, family.type, family.help + note))
    assert rows == expected
    assert all(f"`{bound}`" in METRICS for bound in BOUNDS)


def test_every_route_is_described() -> None:
    import asyncio

    async def main() -> dict[str, dict[str, object]]:
        async with inside(make_spec(make_backend("app", 1))) as lb:
            paths: dict[str, dict[str, object]] = build(lb.context).openapi()["paths"]
            return paths

    paths = asyncio.run(main())
    assert "/v1/info" in paths
    for path, methods in paths.items():
        short = path.replace("{backend}", "B").replace("{server}", "S").replace("{name}", "F")
        for method in methods:
            if method == "get":
                assert f"`{short}`" in API, path
            else:
                assert f"`{method.upper()} {short}`" in API, (method, path)


def test_the_example_loads() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", API, re.DOTALL)
    frontend = '\n[frontends.web]\nlisten = ":80"\nbackend = "app"\n[backends.app]\nservers = ["10.0.0.1:80"]\n'
    report = check_text(block + frontend)
    assert (report.errors, report.warnings) == ((), ())
