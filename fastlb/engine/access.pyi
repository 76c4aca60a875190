from collections.abc import Sequence

from fastlb.engine.step import Step

class NetworkStep(Step):
    def __init__(
        self,
        allow: Sequence[str] = (),
        deny: Sequence[str] = (),
        action: str = "forbid",
        tarpit: float = 10.0,
        most: int = 1000,
    ) -> None: ...
