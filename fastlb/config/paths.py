"""Places in a configuration as tuples of keys and indices, and how messages write them."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def dotted(path: Path) -> str:
    """('frontends', 'web', 'routes', 0) -> 'frontends.web.routes[0]'. Keys that TOML would quote are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE.fullmatch(step) else _quoted(step))
    return text


def _quoted(step: str) -> str:
    inner = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in step.replace('"', '\\"'))
    return f'"{inner}"'
