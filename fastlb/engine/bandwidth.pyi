from collections.abc import Sequence

from fastlb.engine.holds import Holds

class BandwidthRule:
    def __init__(
        self,
        name: str,
        *,
        request: float = 0,
        response: float = 0,
        request_after: int = 0,
        response_after: int = 0,
        key: Sequence[str] | None = None,
        prefix4: int = 32,
        prefix6: int = 64,
        exempt: Sequence[str] = (),
        route: str = "",
    ) -> None: ...

class Bandwidth:
    def __init__(self, rules: list[BandwidthRule], holds: Holds) -> None: ...
