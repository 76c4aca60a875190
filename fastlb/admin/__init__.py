"""The admin interface: JSON API, metrics, HAProxy's CSV and the stats page, inside the supervisor's process.

`extras(spec)` gives what `fastlb.runtime.serve` takes to run it. The imports are left until then: they are large, and a
configuration without [admin] needs none of them.
"""

from __future__ import annotations

from fastlb.runtime.extras import Extra, ExtraFactory, Running
from fastlb.spec import Spec


def extras(spec: Spec) -> list[ExtraFactory]:
    """The factories for a configuration: one, or none where it has no [admin]."""
    if spec.admin.listen is None and not spec.admin.socket:
        return []

    def make(running: Running) -> Extra:
        from fastlb.admin.server import AdminServer

        return AdminServer(running)

    return [make]
