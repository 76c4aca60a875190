from collections.abc import Iterable

from fastlb._core.region import Region
from fastlb.engine.holds import Holds

class RateRule:
    label: bytes
    policy: bytes
    refused: int
    def __init__(
        self,
        name: str,
        rate: float,
        burst: int = 0,
        key: Iterable[str] = ("ip",),
        prefix4: int = 32,
        prefix6: int = 64,
        dry_run: bool = False,
        exempt: Iterable[str] = (),
        *,
        of: str = "requests",
        shared: bool = False,
        label: str = "",
        span: float = 1,
        route: str = "",
        region: Region | None = None,
    ) -> None: ...

class RateLimits:
    rules: list[RateRule]
    def __init__(
        self,
        rules: list[RateRule],
        region: Region | None = None,
        slots: int = 1024,
        worker: int = 0,
        *,
        holds: Holds | None = None,
        fields: str = "combined",
    ) -> None: ...
    def check(self, key: str | bytes, now: float) -> tuple[bool, int, int]: ...
    def settle(self, key: str | bytes, now: float, size: int) -> tuple[bool, int, int]: ...
    def header(self, key: str | bytes, now: float) -> bytes: ...
    def raise_to(self, key: str | bytes, tat: float) -> None: ...

def rule_counts(region: Region, name: str) -> tuple[int, int, int]: ...
