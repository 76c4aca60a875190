"""The command line: `fastlb serve`, `fastlb check`, `fastlb ctl` and the others.

Exit status 0 on success, 2 on a wrong configuration or usage, 1 when the program could not start or run, or what was
asked of a running one was not done.
"""

from __future__ import annotations

from .main import main

__all__ = ["main"]
