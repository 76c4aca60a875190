"""Exceptions of the cold paths. The data path raises none: it returns outcomes."""

from __future__ import annotations

from dataclasses import dataclass


class FastlbError(Exception):
    """Base of every exception that fastlb raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration."""

    key: str  # path of the key, 'backends.api.servers[1].weight'
    value: object
    reason: str
    nearest: str = ""  # nearest valid choice, '' when there is none
    file: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else ""
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{where}{self.key} = {self.value!r}: {self.reason}{hint}"


class ConfigError(FastlbError):
    """A configuration that cannot be used. `problems` holds every one that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems
