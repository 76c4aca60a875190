"""Names and passwords (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping

from fastlb.spec import BasicAuth

from . import hashes
from .attempts import Attempts
from .pool import Threads
from .verdict import Told, Verdict

WAITING = 64  # verifications that wait for a thread, a worker; beyond, requests get 503


def challenge(realm: str) -> bytes:
    """WWW-Authenticate of a realm."""
    text = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{text}", charset="UTF-8"'.encode()


class Passwords:
    """Verifies names and passwords against `users`, in threads, as `rules` say.

    Who does not exist takes as long as who does: a hash is worked out for them as well. An address that was wrong too
    often gets 429 without any hash being worked out.
    """

    def __init__(self, rules: BasicAuth, users: Mapping[str, str], attempts: Attempts | None = None) -> None:
        self._rules = rules
        self._users = {name.encode(): stored for name, stored in users.items()}
        self._nobody = next(iter(users.values()), "")
        self._challenge = challenge(rules.realm)
        self._attempts = attempts or Attempts(rules.failures, rules.window)
        self._threads = Threads("fastlb-passwords", rules.threads, WAITING)

    def begin(self, credentials: bytes, address: bytes, told: Told) -> bool:
        def done(verdict: Verdict) -> None:
            if verdict.status == 401:
                self._attempts.failed(address)
            told(verdict)

        if left := self._attempts.closed(address):
            late = Verdict(429, reason=b"too many wrong passwords", retry_after=math.ceil(left))
            return self._threads.later(told, late)
        return self._threads.submit(lambda: self.verify(credentials), done)

    def close(self) -> None:
        self._threads.close()

    def verify(self, credentials: bytes) -> Verdict:
        """The verdict on what stands behind `Basic`."""
        refused = Verdict(401, challenge=self._challenge, reason=b"wrong name or password")
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).partition(b":")
        except binascii.Error:
            return Verdict(401, challenge=self._challenge, reason=b"credentials are not base64")
        if not colon:
            return refused
        stored = self._users.get(name)
        right = hashes.verify(stored or self._nobody, password)
        if stored is None or not right:
            return refused
        header = self._rules.user_header
        lines = ((header.encode(), name),) if header else ()
        return Verdict(0, lines, name, self._rules.cache)
