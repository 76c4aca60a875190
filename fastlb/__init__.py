"""fastlb: a load balancer with a Cython engine, configured in TOML, extended in Python."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastlb.config import load as load
    from fastlb.config import parse as parse
    from fastlb.errors import ConfigError as ConfigError
    from fastlb.errors import ConfigWarning as ConfigWarning
    from fastlb.errors import FastlbError as FastlbError
    from fastlb.spec import Spec as Spec

# Public name -> module that has it. Loaded on first use (PEP 562), so that `import fastlb`, which every worker and
# every `import fastlb.balance` goes through, reads neither pydantic nor the engine.
_PUBLIC = {
    "ConfigError": "fastlb.errors",
    "ConfigWarning": "fastlb.errors",
    "FastlbError": "fastlb.errors",
    "Spec": "fastlb.spec",
    "load": "fastlb.config",
    "parse": "fastlb.config",
}

__all__ = ["ConfigError", "ConfigWarning", "FastlbError", "Spec", "__version__", "load", "parse"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fastlb' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
