"""Reads the configuration that an option names."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from fastlb.config import Report, check_bytes, check_file, check_text, with_overlay
from fastlb.config.convert import worker_count


def read(file: str) -> Report:
    """The file, or standard input for '-', with the changes that its overlay holds."""
    if file == "-":
        return with_overlay(check_bytes(sys.stdin.buffer.read(), "<stdin>"))
    return with_overlay(check_file(file))


def with_workers(report: Report, workers: int | str | None) -> Report:
    """`report` with the number that an option gave; None = that of the file."""
    if report.spec is None or workers is None:
        return report
    return replace(
        report, spec=replace(report.spec, global_=replace(report.spec.global_, workers=worker_count(workers)))
    )


class FileSource:
    """The configuration file of a running balancer: what `fastlb.runtime.operator.Source` asks for."""

    def __init__(self, file: str, workers: int | str | None = None) -> None:
        """`file` '-' or '' cannot be read again."""
        self.path = "" if file in ("", "-") else str(Path(file).absolute())
        self._name = file
        self._workers = workers

    def read(self) -> Report:
        """The file as it is now. The overlay is left alone: a running balancer knows better."""
        try:
            data = Path(self.path).read_bytes()
        except OSError:
            return check_file(self.path)  # which says why
        return with_workers(check_bytes(data, self._name), self._workers)

    def parse(self, text: str, source: str) -> Report:
        """Another configuration in place of the file's."""
        return with_workers(check_text(text, source or self._name), self._workers)
