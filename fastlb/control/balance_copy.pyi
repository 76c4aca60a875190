"""Types of the compiled module; documentation is in balance_copy.pyx."""

from collections.abc import Sequence
from typing import TypedDict

from fastlb._core.region import Region
from fastlb.control.slots import Assignment
from fastlb.spec import Backend

NONE: int
FULL: int

class Seen(TypedDict):
    up: bool
    drain: bool
    maint: bool
    ejected: bool
    breaker: str  # of its circuit breaker: open, half-open; '' = closed, or none
    usable: bool
    candidate: bool
    weight: int
    ramp: float
    in_flight: int
    limit: int
    bound: int | None
    latency: float | None
    score: float | None

class BalanceCopy:
    @property
    def backend(self) -> Backend: ...
    @property
    def keyed(self) -> bool: ...
    def __init__(self, backend: Backend, assignment: Assignment, region: Region) -> None: ...
    def key(self, head: bytes, client: str = "unix") -> tuple[str, int] | None: ...
    def draw(self, key: int | None = None, tried: Sequence[int] = (), times: int = 1) -> dict[int, int]: ...
    def loads(self) -> dict[int, int]: ...
    def server(self, slot: int) -> Seen: ...
