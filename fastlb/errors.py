"""Exceptions of the cold paths. The data path raises none: it returns outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SHOWN = 72  # characters of a value that a message repeats


class _Missing:
    """The value of a key that is not there."""

    def __repr__(self) -> str:
        return "<missing>"


MISSING: Final = _Missing()


class FastlbError(Exception):
    """Base of every exception that fastlb raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration. `str()` of it is one line, whatever the value holds."""

    key: str  # path of the key, 'backends.api.servers[1].weight'; '' = the file as a whole
    value: object  # MISSING where there is none to show
    reason: str
    nearest: str = ""  # nearest valid choice, '' when there is none
    file: str = ""
    line: int = 0  # of the key, from 1; 0 = unknown
    column: int = 0  # from 1; only of syntax errors
    severity: str = "error"  # error | warning

    def __str__(self) -> str:
        text = self.reason
        if self.key:
            text = f"{self.key}: {text}" if self.value is MISSING else f"{self.key} = {shown(self.value)}: {text}"
        if self.nearest:
            text += f"; did you mean {shown(self.nearest)}?"
        place = (
            ":".join([shown_plain(self.file), *(str(n) for n in (self.line, self.column) if n)]) if self.file else ""
        )
        return ": ".join(part for part in (place, "warning" if self.severity == "warning" else "", text) if part)


class ConfigError(FastlbError):
    """A configuration that cannot be used. `problems` holds every one that was found, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class ConfigWarning(UserWarning):
    """A configuration that works but is probably not what was meant."""


def shown(value: object, width: int = SHOWN) -> str:
    """The value as TOML would write it, on one line, cut after `width` characters."""
    text = _toml(value, width)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def shown_plain(text: str) -> str:
    """The text with everything that does not print (line ends, terminal codes) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _toml(value: object, room: int) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            escaped = value[: room + 1].replace("\\", "\\\\").replace('"', '\\"')
            return f'"{shown_plain(escaped)}"'
        case Mapping():
            return _joined("{ ", [(f"{_key(k)} = ", v) for k, v in value.items()], " }", room)
        case Sequence() if not isinstance(value, bytes | bytearray):
            return _joined("[", [("", v) for v in value], "]", room)
        case _:
            return shown_plain(repr(value))


def _joined(opening: str, items: list[tuple[str, object]], closing: str, room: int) -> str:
    if not items:
        return opening.strip() + closing.strip()
    text = opening
    for number, (label, item) in enumerate(items):
        if len(text) > room:  # cut anyway: a list of ten thousand servers is not written out first
            return text
        text += (", " if number else "") + label + _toml(item, max(room - len(text), 0))
    return text + closing


def _key(key: object) -> str:
    return shown_plain(str(key))
