"""Python face of head rewriting."""

from collections.abc import Iterable
from typing import final

@final
class RequestPlan:
    def __init__(
        self,
        rules: Iterable[object] = (),
        forwarded: object | None = None,
        rewrite: object | None = None,
        default_host: str | bytes = "",
    ) -> None: ...
    def apply(
        self,
        head: bytes,
        *,
        client: str = "",
        client_port: int = 0,
        trusted: bool = False,
        https: bool = False,
        port: int = 80,
        request_id: str = "",
        trace_id: str = "",
        spans: bool = False,
        sampled: bool = True,
        client_cert: str = "",
        repeat: int = 1,
    ) -> bytes: ...

@final
class ResponsePlan:
    def __init__(self, rules: Iterable[object] = ()) -> None: ...
    def apply(
        self,
        head: bytes,
        *,
        method: str = "GET",
        client_minor: int = 1,
        close: bool = False,
        keep_alive_10: bool = False,
        dechunk: bool = False,
        upgrade: bool = False,
        repeat: int = 1,
    ) -> bytes: ...
