"""Verifying in threads: what becomes of guesses that wait, and of a verification that breaks."""

from __future__ import annotations

import asyncio
import threading

from fastlb.auth.pool import Threads
from fastlb.auth.verdict import Verdict
from fastlb.auth.verifier import Verifier
from fastlb.engine.failures import Failures

WRONG = Verdict(401, wrong=True)


class Slow(Verifier):
    """Verifies when `go` is set; what is b"right" is."""

    def __init__(self, threads: int, limit: int) -> None:
        super().__init__(Threads("test", threads, 64), Failures(None, "a", limit, 3600.0), b"late")
        self.go = threading.Event()
        self.verified = 0

    def verify(self, credentials: bytes) -> Verdict:
        self.go.wait(60)
        self.verified += 1
        if credentials == b"broken":
            raise RuntimeError("as no verifier should")
        return Verdict(user=b"ann") if credentials == b"right" else WRONG


async def verdicts(one: Slow, *credentials: bytes, address: bytes = b"a") -> list[Verdict]:
    """What is said to all of them, begun at once."""
    told: list[asyncio.Future[Verdict]] = []
    for raw in credentials:
        told.append(asyncio.get_running_loop().create_future())
        assert one.begin(raw, address, told[-1].set_result)
    one.go.set()
    return list(await asyncio.gather(*told))


def test_guesses_that_wait_are_not_verified_once_the_address_is_closed() -> None:
    async def main() -> None:
        one = Slow(threads=1, limit=3)
        found = await verdicts(one, *[b"guess %d" % n for n in range(20)])
        assert [verdict.status for verdict in found] == [401] * 3 + [429] * 17
        assert one.verified == 3
        assert found[-1].reason == b"late" and 3599 <= found[-1].retry_after <= 3600
        assert [v.status for v in await verdicts(one, b"right")] == [429]  # closed is closed
        assert [v.status for v in await verdicts(one, b"right", address=b"b")] == [0]
        one.close()

    asyncio.run(main())


def test_threads_side_by_side_verify_no_more_than_one_guess_too_many_each() -> None:
    async def main() -> None:
        one = Slow(threads=4, limit=3)
        found = await verdicts(one, *[b"guess %d" % n for n in range(40)])
        assert 3 <= one.verified <= 3 + 3
        assert {verdict.status for verdict in found} == {401, 429}
        one.close()

    asyncio.run(main())


def test_a_verification_that_breaks_is_answered() -> None:
    async def main() -> None:
        one = Slow(threads=1, limit=1)
        broken, right = await verdicts(one, b"broken", b"right")
        assert (broken.status, broken.retry_after, right.status) == (503, 1, 0)  # and counts against nobody
        one.close()

    asyncio.run(main())
