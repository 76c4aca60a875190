"""What all have in common who verify credentials in threads: who was wrong too often is not verified at all."""

from __future__ import annotations

import logging
import math

from .pool import Threads
from .verdict import Attempts, Told, Verdict

log = logging.getLogger("fastlb.auth")


class Verifier:
    """Calls `verify` in `threads`, and counts in `attempts` by address who was wrong.

    An address that is closed gets 429, for the log `late`. It is looked at once more when a thread has time, and a
    failure is counted there: of many guesses that wait for a thread no more are verified than may be wrong, but for
    those that other threads are at just then.
    """

    def __init__(self, threads: Threads, attempts: Attempts, late: bytes) -> None:
        self._threads = threads
        self._attempts = attempts
        self._late = late

    def begin(self, credentials: bytes, address: bytes, told: Told) -> bool:
        if (late := self._closed(address)) is not None:
            return self._threads.later(told, late)
        return self._threads.submit(lambda: self._verdict(credentials, address), told)

    def close(self) -> None:
        self._threads.close()

    def verify(self, credentials: bytes) -> Verdict:
        """The verdict on credentials; in a thread."""
        raise NotImplementedError

    def _closed(self, address: bytes) -> Verdict | None:
        left = self._attempts.closed(address)
        return Verdict(429, reason=self._late, retry_after=math.ceil(left)) if left else None

    def _verdict(self, credentials: bytes, address: bytes) -> Verdict:
        late = self._closed(address)
        if late is not None:
            return late
        try:
            verdict = self.verify(credentials)
        except Exception:  # a request must not wait for an answer that never comes
            log.exception("a verification failed")
            return Verdict(503, reason=b"credentials cannot be verified", retry_after=1)
        if verdict.wrong:
            self._attempts.failed(address)
        return verdict
