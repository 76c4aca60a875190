HEAD: str
NAMES: tuple[str, ...]

class SpanBuffer:
    def take(self) -> tuple[bytes, int, int]: ...
