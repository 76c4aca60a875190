from collections.abc import Iterable
from typing import NamedTuple

BACKUP: int

class Standing(NamedTuple):
    usable: int
    eligible: int
    panic: bool
    loads: dict[int, int]

def standing_of(servers: Iterable[tuple[int, int, int]], panic: float, overprovisioning: float) -> Standing: ...
