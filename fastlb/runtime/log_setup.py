"""The error log of a process: standard error, one line a record."""

from __future__ import annotations

import logging
import os
import sys

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_log(level: str, role: str) -> None:
    """Sends records of 'fastlb' loggers at `level` or above to standard error, marked with `role` and the process id.

    For processes that are fastlb's own; a program that embeds it configures logging itself. A second call replaces the
    first.
    """
    logger = logging.getLogger("fastlb")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s fastlb[{os.getpid()}] {role} %(levelname)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(LEVELS[level])
    logger.propagate = False
