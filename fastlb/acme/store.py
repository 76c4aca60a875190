"""The files of an ACME account: its key, and the certificates it was given. Readable by their owner alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastlb.spec import Acme

ACCOUNT = "account.json"


class Store:
    """Of one account. Everything here blocks on the file system, and raises OSError."""

    def __init__(self, settings: Acme) -> None:
        self.folder = settings.folder()

    def account(self) -> dict[str, Any]:
        """What `keep_account` was given; empty = there is none, or it cannot be understood."""
        try:
            found = json.loads((self.folder / ACCOUNT).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep_account(self, account: dict[str, Any]) -> None:
        """Takes the place of the account before."""
        self.write(self.folder / ACCOUNT, json.dumps(account, indent=1).encode())

    def write(self, path: Path, content: bytes) -> None:
        """Replaces the file at once, or not at all: whoever reads finds the old one or the new one, never a part."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 (the descriptor was opened with its mode)
                os.fchmod(fd, 0o600)
                file.write(content)
                file.flush()
                os.fsync(fd)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
