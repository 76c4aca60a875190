from collections.abc import Sequence
from typing import Any

class TcpRouter:
    reads: bool
    def __init__(self, routes: Sequence[Any]) -> None: ...
    def find(self, name: str, protocols: Sequence[bytes] = (), client: str = "unix") -> int | None: ...
