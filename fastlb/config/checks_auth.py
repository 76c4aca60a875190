"""Checks of authentication and mirrors: names that are there, keys and password files that can be used."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path as File

from fastlb.auth import htpasswd

from .checks_affinity import secret_checks
from .model import Config
from .models_auth import AuthTable, BasicTable, JwtTable
from .models_frontends import FrontendTable, RouteTable
from .paths import Path, dotted
from .structure import Finding
from .suggest import listed, nearest

Wrote = Callable[[Path, str], bool]
Reference = Callable[[Path, str, str], Iterator[Finding]]

_KINDS = ("basic", "jwt", "forward")
_KEYS = ("secret", "key", "jwks")
NOBODY = "none"  # as the value of `auth`: nobody is asked


def auth_checks(config: Config, wrote: Wrote, reference: Reference, names: list[str]) -> Iterator[Finding]:
    """Findings in the model's own paths. `reference` looks for a backend by name; `names`: of the tables of [auth],
    right or wrong."""
    used: set[str] = set()
    for name, frontend in config.frontends.items():
        path: Path = ("frontends", name)
        owners: list[tuple[Path, FrontendTable | RouteTable]] = [(path, frontend)]
        owners += [((*path, "routes", index), route) for index, route in enumerate(frontend.routes)]
        for place, owner in owners:
            if owner.auth:
                used |= {owner.auth, nearest(owner.auth, names)}
                yield from _named((*place, "auth"), owner.auth, names)
            if owner.mirror is not None:
                yield from reference((*place, "mirror", "backend"), owner.mirror.backend, "http")
                yield from _mirrored((*place, "mirror"), owner)
        if frontend.mode != "http":
            for place, _ in owners:
                for key in ("auth", "mirror"):
                    if wrote(place, key):
                        yield Finding((*place, key), f'has no meaning with mode = "{frontend.mode}"')
    for name, table in config.auth.items():
        path = ("auth", name)
        if name == NOBODY:
            yield Finding(path, f'"{NOBODY}" stands for nobody being asked; call it something else')
        kinds = [kind for kind in _KINDS if wrote(path, kind)]
        if not kinds:
            yield Finding(path, f"needs one of {listed(_KINDS)}", missing=True)
        elif len(kinds) > 1:
            yield Finding((*path, kinds[1]), f"exactly one of {listed(_KINDS)}, and this one has {' and '.join(kinds)}")
        if name not in used and config.frontends:
            yield Finding(path, "no frontend and no route uses it", warning=True, missing=True)
        yield from _one(path, table, wrote, reference)


def _named(path: Path, name: str, names: list[str]) -> Iterator[Finding]:
    if name == NOBODY or name in names:
        return
    known = [*names, NOBODY]
    guess = nearest(name, known)
    hint = "" if guess else f"; there are {listed(known)}" if len(known) > 1 else f"; add [auth.{dotted((name,))}]"
    yield Finding(path, f"there is no [auth] of this name{hint}", guess)


def _mirrored(path: Path, owner: FrontendTable | RouteTable) -> Iterator[Finding]:
    mirror = owner.mirror
    assert mirror is not None
    if mirror.backend and mirror.backend == owner.backend:
        yield Finding((*path, "backend"), "is the backend that gets the requests themselves", warning=True)
    if not mirror.timeout:
        yield Finding((*path, "timeout"), "must be more than 0")


def _one(path: Path, table: AuthTable, wrote: Wrote, reference: Reference) -> Iterator[Finding]:
    for kind, names in (
        ("basic", [table.basic.user_header or ""] if table.basic else []),
        ("jwt", list(table.jwt.headers.values()) if table.jwt else []),
        ("forward", table.forward.headers if table.forward else []),
    ):
        if any(name.lower() == "host" for name in names):
            yield Finding((*path, kind), "Host says where a request goes, and nothing else can be told by it")
    if table.basic is not None:
        yield from _basic((*path, "basic"), table.basic, wrote)
    if table.jwt is not None:
        yield from _jwt((*path, "jwt"), table.jwt, wrote)
    if table.forward is not None:
        yield from reference((*path, "forward", "backend"), table.forward.backend, "http")
        if not table.forward.timeout:
            yield Finding((*path, "forward", "timeout"), "must be more than 0")


def _basic(path: Path, table: BasicTable, wrote: Wrote) -> Iterator[Finding]:
    if not wrote(path, "file") and not wrote(path, "users"):
        yield Finding(path, "needs file or users", missing=True)
    if table.file:
        try:
            htpasswd.read(table.file)
        except htpasswd.Wrong as error:
            yield Finding((*path, "file"), str(error))
    for index, line in enumerate(table.users):
        try:
            htpasswd.entry(line)
        except htpasswd.Wrong as error:
            yield Finding((*path, "users", index), str(error), missing=True)  # the value stays out of the message


def _jwt(path: Path, table: JwtTable, wrote: Wrote) -> Iterator[Finding]:
    if importlib.util.find_spec("jwt") is None:
        yield Finding(path, 'tokens need PyJWT: pip install "fastlb[jwt]"', missing=True)
        return
    from fastlb.auth import keys

    given = [key for key in _KEYS if wrote(path, key)]
    if not given:
        yield Finding(path, f"needs one of {listed(_KEYS)}", missing=True)
    elif len(given) > 1:
        yield Finding((*path, given[1]), f"exactly one of {listed(_KEYS)}: with several, one might stand for another")
    if table.secret:
        yield from secret_checks((*path, "secret"), table.secret)
        if not table.secret.startswith(("env:", "file:")):
            try:
                keys.secret(table.secret.encode(), table.algorithms)
            except ValueError as error:
                yield Finding((*path, "secret"), str(error), missing=True)
    if table.key:
        try:
            keys.public(File(table.key).read_bytes(), table.algorithms)
        except OSError as error:
            yield Finding((*path, "key"), f"cannot be read: {error.strerror}")
        except ValueError as error:
            yield Finding((*path, "key"), str(error))
    if table.jwks is None:
        for key in ("jwks_ca", "refresh", "refresh_min", "stale", "timeout"):
            if wrote(path, key):
                yield Finding((*path, key), "is only for jwks")
    else:
        for key in ("refresh", "timeout"):
            if not getattr(table, key):
                yield Finding((*path, key), "must be more than 0")
        if table.jwks.startswith("http:"):
            yield Finding((*path, "jwks"), "who can change what comes over http can make tokens", warning=True)
    if not table.audience and not wrote(path, "audience"):
        yield Finding((*path, "audience"), "without one, tokens for others are taken too", warning=True, missing=True)
