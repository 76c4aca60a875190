"""Types of the compiled module; documentation is in load.pyx."""

from typing import TypedDict

class Answers(TypedDict):
    answers: int
    errors: int
    refused: int
    bytes: int
    seconds: float
    late: float
    latencies: dict[int, int]

class Generator:
    def __init__(
        self,
        host: str,
        port: int,
        request: bytes,
        *,
        connections: int = 1,
        rate: float = 0,
        close: bool = False,
        upgrade: bytes = b"",
        expect: int = 0,
        tls: str = "",
        resume: bool = False,
    ) -> None: ...
    def prepare(self, patience: float = 30.0) -> int: ...
    def run(self, seconds: float) -> Answers: ...
