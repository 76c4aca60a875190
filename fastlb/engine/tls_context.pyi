import ssl
from collections.abc import Callable, Mapping

class TlsServer:
    context: ssl.SSLContext
    asks: bool
    def __init__(
        self,
        context: ssl.SSLContext,
        names: Mapping[str, ssl.SSLContext] | None = None,
        *,
        strict: bool = False,
        asks: bool = False,
        handshake: float = 0,
        head: float = 0,
        rate: float = 0,
        group: bytes = b"",
        describe: Callable[[bytes], bytes] | None = None,
    ) -> None: ...
    def challenge(self, challenged: dict[bytes, ssl.SSLContext]) -> None: ...

class TlsClient:
    context: ssl.SSLContext
    name: str
    def __init__(
        self,
        context: ssl.SSLContext,
        name: str = "",
        *,
        verify_name: bool = True,
        is_address: bool = False,
        who: str = "a server",
    ) -> None: ...

def set_groups(context: ssl.SSLContext, groups: str) -> bool: ...
def set_ciphersuites(context: ssl.SSLContext, suites: str) -> bool: ...
def set_depth(context: ssl.SSLContext, depth: int) -> bool: ...
