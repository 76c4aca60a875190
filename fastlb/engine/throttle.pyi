from collections.abc import Iterable

from fastlb.engine.holds import Holds

class Throttle:
    def ask(self, now: float, most: int) -> tuple[int, float]: ...

def trial_throttle(limits: Iterable[tuple[str, float, int]], holds: Holds) -> Throttle: ...
