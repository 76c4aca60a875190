"""Processes: the supervisor, its workers, and the engine inside another program's loop.

`serve` runs a Spec until a signal ends it, `serve_demo` a demonstration with origin servers of its own, `Embedded` one
engine on the current loop. Names are loaded on first use (PEP 562), so that a worker process loads only what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlb.runtime.demo import serve_demo as serve_demo
    from fastlb.runtime.embedded import Embedded as Embedded
    from fastlb.runtime.info import RuntimeInfo as RuntimeInfo
    from fastlb.runtime.info import shown as shown
    from fastlb.runtime.supervisor import serve as serve

__all__ = ["Embedded", "RuntimeInfo", "serve", "serve_demo", "shown"]


def __getattr__(name: str) -> object:
    value: object
    if name == "serve":
        from fastlb.runtime.supervisor import serve as value
    elif name == "serve_demo":
        from fastlb.runtime.demo import serve_demo as value
    elif name == "Embedded":
        from fastlb.runtime.embedded import Embedded as value
    elif name == "RuntimeInfo":
        from fastlb.runtime.info import RuntimeInfo as value
    elif name == "shown":
        from fastlb.runtime.info import shown as value
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
