"""What the schema knows and this version does not do. To lift a limit, delete its lines here."""

from __future__ import annotations

from collections.abc import Iterator

from .model import Config
from .structure import Finding

_MODE = "mode {} is not supported in this version; only http and tcp are"


def unsupported(config: Config) -> Iterator[Finding]:
    """Findings in the model's own paths."""
    for name, frontend in config.frontends.items():
        if frontend.mode == "udp":
            yield Finding(("frontends", name, "mode"), _MODE.format(frontend.mode))
    for name, backend in config.backends.items():
        if backend.mode == "udp":
            yield Finding(("backends", name, "mode"), _MODE.format(backend.mode))
