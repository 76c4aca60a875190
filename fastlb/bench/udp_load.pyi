from collections.abc import Sequence

class Datagrams:
    def __init__(
        self,
        port: int,
        servers: Sequence[int],
        *,
        clients: int,
        window: int = 1,
        size: int = 64,
        reuse: int = 0,
        one_way: bool = False,
    ) -> None: ...
    def run(self, seconds: float) -> tuple[int, int, float]: ...
