"""Giving rights up: from root to the user that the configuration names, once everything is bound."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from fastlb.errors import ConfigError, Problem
from fastlb.spec import Global


@dataclass(frozen=True, slots=True)
class Identity:
    """Who to become. `name` '' = a user that the system has no name for."""

    user: int
    group: int
    name: str

    @property
    def is_current(self) -> bool:
        """True where nothing is left to give up."""
        return os.getresuid() == (self.user,) * 3 and os.getresgid() == (self.group,) * 3


def identity_of(settings: Global, source: str = "") -> Identity | None:
    """Who `settings` name; None = nobody. Raises ConfigError for names that the system does not know, or no right."""
    if not settings.user and not settings.group:
        return None
    problems: list[Problem] = []
    user, group, name = os.geteuid(), os.getegid(), ""
    if settings.user:
        entry = _user(settings.user)
        if entry is not None:
            user, group, name = entry.pw_uid, entry.pw_gid, entry.pw_name
        elif settings.user.isdecimal():
            user = int(settings.user)
            if not settings.group:
                problems.append(Problem("global.group", "", "a user without a name needs a group", file=source))
        else:
            problems.append(Problem("global.user", settings.user, "there is no such user", file=source))
    if settings.group:
        try:
            group = int(settings.group) if settings.group.isdecimal() else grp.getgrnam(settings.group).gr_gid
        except KeyError:
            problems.append(Problem("global.group", settings.group, "there is no such group", file=source))
    found = Identity(user, group, name)
    if not problems and not found.is_current and os.geteuid() != 0:
        key = "user" if settings.user else "group"
        problems.append(Problem(f"global.{key}", getattr(settings, key), "only root can become another", file=source))
    if problems:
        raise ConfigError(problems)
    return found


def become(identity: Identity, files: Iterable[str] = (), logs: Iterable[str] = ()) -> None:
    """Gives `files` to the identity, then becomes it for good, with its supplementary groups and no others.

    `logs` are files that the identity must be able to append to; they are made where they are missing. Raises OSError
    when the system refuses, RuntimeError when the old rights could be had back.
    """
    if identity.is_current:
        return
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, identity.user, identity.group, follow_symlinks=False)
    for path in logs:
        with contextlib.suppress(OSError):  # whoever opens it says better what is wrong
            _give_log(path, identity)
    if identity.name:
        os.initgroups(identity.name, identity.group)
    else:
        os.setgroups([identity.group])
    os.setresgid(identity.group, identity.group, identity.group)
    os.setresuid(identity.user, identity.user, identity.user)
    if identity.user != 0:
        try:
            os.setresuid(0, 0, 0)
        except PermissionError:
            return
        raise RuntimeError("the rights of root could be had back after giving them up")


def _give_log(path: str, identity: Identity) -> None:
    """Opened before it is given away, and only a file with one name: in a directory that the identity may write to,
    a link to a file of root could lie in its place."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchown(fd, identity.user, identity.group)
    finally:
        os.close(fd)


def _user(name: str) -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    return None
