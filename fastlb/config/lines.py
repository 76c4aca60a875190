"""On which line of a TOML text a key stands; `tomllib` does not tell.

A scanner for texts that `tomllib` has read without complaint: it follows the structure and skips the values. Runs
only when there is something to report, in time linear to the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from .paths import Path

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_VALUES = (
    re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'(?!''))*'{3,5}"),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
    re.compile(r"[^,\]}#\n]+"),  # numbers, dates, true and false
)


class KeyLines:
    """Line numbers, from 1, of the keys of a valid TOML text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # tables seen of each array of tables
        try:
            self._document()
        except (_Lost, RecursionError):  # a line number is a convenience: better none than a failure
            pass

    def of(self, path: Path) -> int:
        """Line of the key, or of the nearest table around it that has one; 0 when there is none."""
        while path:
            if line := self._lines.get(path):
                return line
            path = path[:-1]
        return 0

    def _document(self) -> None:
        prefix: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            line = self._line()
            if self._take("[["):
                keys = self._keys()
                self._expect("]]")
                array = self._resolved(keys[:-1]) + keys[-1:]
                self._note(array, line)
                self._counts[array] = self._counts.get(array, -1) + 1
                prefix = (*array, self._counts[array])
                self._note(prefix, line)
            elif self._take("["):
                prefix = self._resolved(self._keys())
                self._expect("]")
                for depth in range(1, len(prefix) + 1):
                    self._note(prefix[:depth], line)
            else:
                self._pair(prefix)

    def _resolved(self, keys: Path) -> Path:
        """The path of a table header, which names the last table of each array on its way."""
        path: Path = ()
        for key in keys:
            path += (key,)
            if path in self._counts:
                path += (self._counts[path],)
        return path

    def _pair(self, prefix: Path) -> None:
        line = self._line()
        for key in self._keys():
            prefix += (key,)
            self._note(prefix, line)
        self._expect("=")
        self._skip(_SPACE)
        self._value(prefix)

    def _value(self, path: Path) -> None:
        if self._take("["):
            index = 0
            while not self._closed("]"):
                self._note((*path, index), self._line())
                self._value((*path, index))
                index += 1
        elif self._take("{"):
            while not self._closed("}"):
                self._pair(path)
        else:
            for pattern in _VALUES:
                if match := pattern.match(self._text, self._at):
                    self._at = match.end()
                    return
            raise _Lost

    def _closed(self, bracket: str) -> bool:
        self._skip(_BLANK)
        if self._take(","):
            self._skip(_BLANK)
        return self._take(bracket)

    def _keys(self) -> Path:
        keys: Path = ()
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            if match is None:
                raise _Lost
            self._at = match.end()
            keys += (_unquoted(match[0]),)
            self._skip(_SPACE)
            if not self._take("."):
                return keys

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _take(self, mark: str) -> bool:
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False

    def _expect(self, mark: str) -> None:
        self._skip(_SPACE)
        if not self._take(mark):
            raise _Lost

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)

    def _note(self, path: Path, line: int) -> None:
        self._lines.setdefault(path, line)


class _Lost(Exception):
    """The scanner met something that it does not know."""


def _unquoted(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        inner = key[1:-1]
        if "\\" not in inner:
            return inner
        simple = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\", "e": "\x1b"}
        return re.sub(
            r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|(.))",
            lambda m: simple.get(m[4], m[4]) if m[4] else chr(int(m[1] or m[2] or m[3], 16)),
            inner,
        )
    return key
