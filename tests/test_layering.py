"""The import table of docs/architecture.md holds: every import and cimport of ours is one that it allows.

`config -> spec -> control -> engine`, and nothing upwards. What this test may not see is a name made at run time,
so `import_module` with anything but a literal counts as an import of everything and is allowed to nobody but the
package's own `__init__`, whose lazy names (PEP 562) are the public API of several layers.
"""

from __future__ import annotations

import pytest

from tests.source_tree import Import, all_imports, cython_imports, python_imports

EVERYTHING = {
    "_core", "spec", "errors", "balance", "http", "engine", "auth", "control", "health", "discovery", "autoscale",
    "dns", "runtime", "admin", "config", "client", "embed", "cli", "testing", "bench", "acme",
}  # fmt: skip

# Parts of the package (directory or module below fastlb) and what each may import beside itself.
# `errors` is a leaf that every cold part may raise from; `_core.region`, the layout of the shared memory, is read and
# written by the supervisor's side too, which reaches `_core` for that and nothing else (see LEAVES).
TABLE: dict[str, set[str]] = {
    "_core": set(),
    "spec": set(),
    "errors": set(),
    "balance": {"_core"},
    "http": {"_core"},
    "engine": {"_core", "balance", "http"},
    "auth": {"spec"},
    "control": {"spec", "balance", "engine", "http", "auth"},  # http: the builder compiles header rules into its plans
    "health": {"spec", "control"},
    "discovery": {"spec", "control"},
    "autoscale": {"spec", "control"},
    "dns": {"_core", "balance", "engine", "spec", "control"},
    "acme": {"spec", "control"},
    "runtime": {"spec", "control", "engine", "health", "discovery", "autoscale", "dns", "acme"},
    "admin": {"spec", "control", "runtime"},
    "config": {"spec", "auth"},  # auth: whether password files and keys can be used
    "client": {"balance", "spec", "health", "discovery"},
    # The engine inside an application's own loop: what the command line does, without it.
    "embed": {"spec", "errors", "config", "control", "runtime"},
    # Test bench for users; like the command line it stands on top of everything but the engine's insides.
    "testing": EVERYTHING - {"engine", "cli", "testing"},
    # Measures running programs from outside: needs to know what a configuration says, and nothing of the inside.
    "bench": {"spec", "errors", "config"},
    "cli": EVERYTHING - {"engine", "cli", "testing"},
    "__main__": {"cli"},
    # Lazy names only: importing fastlb must not import an extension.
    "": {"spec", "errors", "config", "embed", "balance"},
}

COLD = {"acme", "control", "health", "discovery", "autoscale", "dns", "runtime", "admin", "config", "client"}
SHARED = {"fastlb._core.region", "fastlb._core.histogram"}
LEAVES = {"control": SHARED, "runtime": SHARED, "admin": SHARED}


def part(module: str) -> str:
    """Directory or module below fastlb that a dotted name belongs to; '' for the package itself."""
    return module.split(".")[1] if "." in module else ""


def violations(imports: list[Import]) -> list[str]:
    """What the table forbids, a line each."""
    found = []
    for i in imports:
        importer, target = part(i.importer), part(i.target)
        if importer == target or target == "":  # fastlb itself holds nothing but __version__
            continue
        if i.target in LEAVES.get(importer, ()) or (target == "errors" and importer in COLD):
            continue
        if importer not in TABLE:
            found.append(f"{i}: {importer} is not in the table of tests/test_layering.py")
        elif target not in TABLE[importer]:
            found.append(str(i))
    return found


def test_every_import_is_allowed() -> None:
    imports = all_imports()
    assert len(imports) > 5, "the reader of imports found next to nothing"
    assert not violations(imports), "\n".join(["forbidden by the import table:", *violations(imports)])


def test_compiled_modules_import_each_other_without_a_cycle() -> None:
    """Lower layers call upwards through an abstract class that is declared below them, never by a cimport."""
    graph: dict[str, set[str]] = {}
    for i in all_imports():
        if i.compiled and i.importer != i.target:
            graph.setdefault(i.importer, set()).add(i.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "cimport cycle: " + " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(graph.get(module, ())):
                visit(target, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


KNOWN = {"fastlb", "fastlb.balance", "fastlb.balance.base", "fastlb.engine", "fastlb.engine.reactor", "fastlb.http"}


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("from fastlb.engine.reactor cimport Reactor", ["fastlb.engine.reactor"]),
        ("from fastlb.engine cimport reactor, stream", ["fastlb.engine.reactor", "fastlb.engine"]),
        ("from fastlb cimport http", ["fastlb.http"]),
        ("from .base cimport (\n    A,  # why\n    B,\n)", ["fastlb.balance.base", "fastlb.balance.base"]),
        ("from ..http cimport x", ["fastlb.http"]),
        ("from . cimport base", ["fastlb.balance.base"]),
        ("    cimport fastlb.engine.reactor as r, libc.math", ["fastlb.engine.reactor", "libc.math"]),
        ("    from fastlb.engine import reactor", ["fastlb.engine.reactor"]),
        ('"""\nfrom fastlb.engine cimport reactor\n"""\n# import fastlb.engine', []),
        ("cdef extern from 'debug.h':\n    int x", []),
    ],
)
def test_reader_of_cython_text(text: str, targets: list[str]) -> None:
    assert [i.target for i in cython_imports(text, "fastlb.balance.maglev", False, KNOWN)] == targets


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("import fastlb.engine.reactor", ["fastlb.engine.reactor"]),
        ("def f():\n    from .. import engine", ["fastlb.engine"]),
        ("from importlib import import_module\nx = import_module('fastlb.engine')", ["importlib", "fastlb.engine"]),
        ("import importlib\nx = importlib.import_module(f'fastlb.{y}')", ["importlib", "fastlb.?"]),
    ],
)
def test_reader_of_python_text(text: str, targets: list[str]) -> None:
    assert [i.target for i in python_imports(text, "fastlb.balance.api", False, KNOWN)] == targets


def test_a_forbidden_import_is_found() -> None:
    found = list(cython_imports("from fastlb.engine.reactor cimport Reactor", "fastlb.balance.base", False, KNOWN))
    assert len(violations(found)) == 1
    found = list(python_imports("import fastlb.cli", "fastlb.runtime.worker", False, KNOWN))
    assert len(violations(found)) == 1
    assert not violations(list(cython_imports("from fastlb._core.span cimport Span", "fastlb.http.x", False, KNOWN)))
