from typing import TypedDict

class Header(TypedDict):
    version: int
    length: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    unique_id: bytes
    authority: bytes
    alpn: bytes

def parse(data: bytes) -> Header | None: ...
def compose(
    version: int,
    source: tuple[str, int] | None = None,
    destination: tuple[str, int] | None = None,
    *,
    unique_id: bytes = b"",
    authority: bytes = b"",
    alpn: bytes = b"",
    ssl: str | None = None,
    crc32c: bool = False,
) -> bytes: ...
