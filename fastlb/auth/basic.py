"""Names and passwords (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from fastlb.spec import BasicAuth

from . import hashes
from .pool import Threads
from .verdict import Attempts, Verdict
from .verifier import Verifier

WAITING = 64  # verifications that wait for a thread, a worker; beyond, requests get 503


def challenge(realm: str) -> bytes:
    """WWW-Authenticate of a realm."""
    text = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{text}", charset="UTF-8"'.encode()


class Passwords(Verifier):
    """Verifies names and passwords against `users`, in threads, as `rules` say.

    Who does not exist takes as long as who does: a hash is worked out for them as well. An address that was wrong too
    often gets 429 without any hash being worked out.
    """

    def __init__(self, rules: BasicAuth, users: Mapping[str, str], attempts: Attempts) -> None:
        super().__init__(Threads("fastlb-passwords", rules.threads, WAITING), attempts, b"too many wrong passwords")
        self._rules = rules
        self._users = {name.encode(): stored for name, stored in users.items()}
        self._nobody = next(iter(users.values()), "")
        self._challenge = challenge(rules.realm)

    def verify(self, credentials: bytes) -> Verdict:
        """The verdict on what stands behind `Basic`."""
        refused = Verdict(401, challenge=self._challenge, reason=b"wrong name or password", wrong=True)
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).partition(b":")
        except binascii.Error:
            return Verdict(401, challenge=self._challenge, reason=b"credentials are not base64", wrong=True)
        if not colon:
            return refused
        stored = self._users.get(name)
        right = hashes.verify(stored or self._nobody, password)
        if stored is None or not right:
            return refused
        header = self._rules.user_header
        lines = ((header.encode(), name),) if header else ()
        return Verdict(0, lines, name, self._rules.cache)
