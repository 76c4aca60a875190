"""Reads the package's sources for the tests of its structure: which module imports which, by text alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import ROOT

PACKAGE = ROOT / "fastlb"


@dataclass(frozen=True, slots=True)
class Import:
    """One import of something of ours: `target` is a dotted name below fastlb, 'fastlb' itself for the root."""

    file: str
    line: int
    importer: str
    target: str
    compiled: bool  # a cimport

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.importer} {'cimports' if self.compiled else 'imports'} {self.target}"


def files(*suffixes: str) -> list[Path]:
    """Source files of the package with one of these suffixes."""
    return sorted(p for p in PACKAGE.rglob("*") if p.suffix in suffixes and "__pycache__" not in p.parts)


def module_name(path: Path) -> str:
    """Dotted name of a source file of the package."""
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def blank_text(source: str) -> str:
    """`source` with comments and the inside of strings replaced by spaces; lines keep their numbers."""
    pattern = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*')
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), source)


def _resolve(importer: str, is_package: bool, module: str) -> str:
    """Absolute name of `module` as written after `from`, leading dots counted from the importer's package."""
    stripped = module.lstrip(".")
    level = len(module) - len(stripped)
    if not level:
        return module
    base = importer.split(".")
    base = base[: len(base) - level + (1 if is_package else 0)]
    return ".".join([*base, stripped] if stripped else base)


def _known_modules() -> set[str]:
    names = {module_name(p) for p in files(".py", ".pyx", ".pxd")}
    return names | {".".join(n.split(".")[:i]) for n in names for i in range(1, n.count(".") + 1)}


def _targets(module: str, names: list[str], known: set[str]) -> Iterator[str]:
    """Modules that `from module import names` reaches: a name that is a module counts as that module."""
    for name in names:
        yield f"{module}.{name}" if f"{module}.{name}" in known else module


_FROM = re.compile(r"^[ \t]*from\s+(\.*[\w.]*)\s+(c?import)\s+(\([^)]*\)|[^\n;]*(?:\\\n[^\n]*)*)", re.MULTILINE)
_PLAIN = re.compile(r"^[ \t]*(c?import)\s+([\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*[\w.]+(?:\s+as\s+\w+)?)*)", re.MULTILINE)


def cython_imports(source: str, importer: str, is_package: bool, known: set[str], file: str = "") -> Iterator[Import]:
    """Imports and cimports of ours in Cython text."""
    text = blank_text(source)
    for match in _FROM.finditer(text):
        module = _resolve(importer, is_package, match.group(1))
        names = [n.split()[0] for n in re.sub(r"[()\\]", " ", match.group(3)).split(",") if n.strip()]
        line = text.count("\n", 0, match.start(1)) + 1
        for target in _targets(module, names, known):
            yield Import(file, line, importer, target, match.group(2) == "cimport")
    for match in _PLAIN.finditer(text):
        line = text.count("\n", 0, match.start(1)) + 1
        for name in match.group(2).split(","):
            yield Import(file, line, importer, name.split()[0], match.group(1) == "cimport")


def python_imports(source: str, importer: str, is_package: bool, known: set[str], file: str = "") -> Iterator[Import]:
    """Imports in Python text, those inside functions and `import_module("…")` included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, importer, alias.name, False)
        elif isinstance(node, ast.ImportFrom):
            module = _resolve(importer, is_package, "." * node.level + (node.module or ""))
            for target in _targets(module, [a.name for a in node.names], known):
                yield Import(file, node.lineno, importer, target, False)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and node.args:
                first = node.args[0]
                name = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else "fastlb.?"
                yield Import(file, node.lineno, importer, _resolve(importer, is_package, name), False)


def all_imports() -> list[Import]:
    """Every import of something of ours in the package."""
    known = _known_modules()
    found: list[Import] = []
    for path in files(".py", ".pyx", ".pxd"):
        read = python_imports if path.suffix == ".py" else cython_imports
        found += read(path.read_text(), module_name(path), path.stem == "__init__", known, str(path.relative_to(ROOT)))
    return [i for i in found if i.target == "fastlb" or i.target.startswith("fastlb.")]
