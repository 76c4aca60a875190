"""fastlb: a load balancer with a Cython engine, configured in TOML, extended in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastlb.config import load as load
    from fastlb.config import parse as parse
    from fastlb.embed import LoadBalancer as LoadBalancer
    from fastlb.errors import ConfigError as ConfigError
    from fastlb.errors import ConfigWarning as ConfigWarning
    from fastlb.errors import FastlbError as FastlbError
    from fastlb.spec import Spec as Spec

__all__ = ["ConfigError", "ConfigWarning", "FastlbError", "LoadBalancer", "Spec", "__version__", "load", "parse"]


def __getattr__(name: str) -> object:
    """Public names, loaded on first use (PEP 562).

    So that `import fastlb`, which every worker and every `import fastlb.balance` goes through, reads neither pydantic
    nor the engine.
    """
    value: object
    if name in ("load", "parse"):
        import fastlb.config

        value = getattr(fastlb.config, name)
    elif name in ("ConfigError", "ConfigWarning", "FastlbError"):
        import fastlb.errors

        value = getattr(fastlb.errors, name)
    elif name == "LoadBalancer":
        import fastlb.embed

        value = fastlb.embed.LoadBalancer
    elif name == "Spec":
        import fastlb.spec

        value = fastlb.spec.Spec
    else:
        raise AttributeError(f"module 'fastlb' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
