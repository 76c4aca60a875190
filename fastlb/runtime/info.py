"""Facts of a started balancer, for the banner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What the machine made of the configuration."""

    pid: int  # of the supervisor
    workers: int  # processes; 0 = the engine runs in the supervisor
    loop: str  # 'uvloop' or 'asyncio'
    descriptors: int  # open files a process may have
    max_connections: int  # clients a worker takes at once
    addresses: dict[str, list[tuple[str, int] | str]]  # where each frontend listens

    def places(self) -> list[str]:
        """'frontend on host:port, host:port' for each frontend."""
        return [f"{name} on {', '.join(shown(a) for a in found)}" for name, found in self.addresses.items()]


def shown(address: tuple[str, int] | str) -> str:
    """An address as one writes it in a configuration: host:port, [v6]:port or unix:path."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
