from collections.abc import Sequence

from fastlb.engine.stick_table import StickTable

class Affinity:
    def __init__(
        self,
        rules: object,
        secrets: Sequence[bytes],
        backend: str,
        servers: Sequence[str],
        indices: Sequence[int],
        table: StickTable | None = None,
    ) -> None: ...
    def cookie(self, slot: int, wall_s: int, *, first: int = 0, https: bool = False) -> bytes: ...
    def read(self, value: bytes, wall_s: int) -> tuple[int, str, bool]: ...
