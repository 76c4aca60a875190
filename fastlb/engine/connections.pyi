"""Types of the compiled module; documentation is in connections.pyx."""

from typing import Any

def client_list(core: Any, most: int, udp: Any = None) -> tuple[list[dict[str, Any]], int]: ...
