from typing import Literal, NamedTuple

from fastlb._core.region import Region
from fastlb.spec import CircuitBreaker

STATES: tuple[str, ...]

class BreakerStatus(NamedTuple):
    state: str
    until_ms: int
    generation: int
    opened: int
    refused: int
    why: str
    bad: int
    total: int

Kind = Literal["server", "group"]

def breaker_status(region: Region, kind: Kind, index: int) -> BreakerStatus: ...
def tick_breaker(region: Region, kind: Kind, index: int, rules: CircuitBreaker) -> None: ...
def reset_breaker(region: Region, kind: Kind, index: int) -> None: ...
