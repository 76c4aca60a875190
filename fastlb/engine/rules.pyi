"""Python face of the answers that routes give by themselves."""

from collections.abc import Iterable
from typing import final

class Answer:
    @property
    def status(self) -> int: ...
    def apply(self, head: bytes, *, https: bool = False, close: bool = False, repeat: int = 1) -> bytes: ...

@final
class Redirect(Answer):
    def __init__(self, location: str, status: int = 302, rules: Iterable[object] = ()) -> None: ...

@final
class Respond(Answer):
    def __init__(
        self,
        status: int = 200,
        body: str = "",
        content_type: str = "text/plain; charset=utf-8",
        headers: Iterable[tuple[str, str]] = (),
        rules: Iterable[object] = (),
    ) -> None: ...
    @property
    def size(self) -> int: ...

def https_redirect(head: bytes, *, close: bool = False, repeat: int = 1) -> bytes: ...
