"""`fastlb serve --demo`: three origin servers of fastlb's own, a balancer in front, and what to try with curl."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from fastlb.runtime.info import RuntimeInfo, shown
from fastlb.runtime.service import StartError
from fastlb.runtime.supervisor import serve
from fastlb.runtime.worker_process import worker_environment
from fastlb.spec import Address, Backend, Balance, Frontend, Global, HealthCheck, Listen, Log, Server, Spec

FIRST_PORT = 8080
START_TIME = 20.0  # seconds that the origins get


class Origins:
    """The origin servers, running in a child process while the `with` block lasts. `addresses` says where."""

    def __init__(self) -> None:
        self.addresses: tuple[Address, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fastlb.runtime.demo_origins", "--fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=worker_environment(),
            )
        self._channel = ours
        ours.settimeout(START_TIME)
        with ours.makefile("rb") as lines:
            ports = json.loads(lines.readline() or b"[]")
        if not ports:
            self.__exit__(None, None, None)
            raise StartError("the origin servers of the demonstration did not start")
        self.addresses = tuple(Address("127.0.0.1", port) for port in ports)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            self._channel.close()  # which is what tells them
            self._channel = None
        if self._process is not None:
            self._process.wait()
            self._process = None


def demo_spec(
    origins: Sequence[Address],
    *,
    listen: Sequence[Address] = (),
    balance: Balance | None = None,
    workers: int = 1,
) -> Spec:
    """A frontend 'demo' on `listen` ([] = port 8080 of this machine alone, or the next free one) before `origins`."""
    places = listen or (Address("127.0.0.1", free_port(FIRST_PORT)),)
    return Spec(
        frontends=(Frontend("demo", tuple(Listen(place) for place in places), backend="origins"),),
        backends=(
            Backend(
                "origins",
                tuple(Server(f"origin-{n}", address) for n, address in enumerate(origins, 1)),
                balance=balance or Balance("round_robin"),
                health_check=HealthCheck(path="/health", interval=1.0, timeout=1.0),
            ),
        ),
        global_=Global(workers=workers),
        log=Log(format="combined"),
    )


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, first + 100):
        try:
            with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if sock.family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # both families at once
                sock.bind(("", port))
                sock.listen(1)
                return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return first  # binding it will say what is wrong


def serve_demo(
    *,
    listen: Sequence[Address] = (),
    balance: Balance | None = None,
    workers: int = 1,
    banner: Callable[[Spec, RuntimeInfo], None] | None = None,
) -> int:
    """Runs the demonstration until a signal ends it; returns the exit status."""
    with Origins() as origins:
        spec = demo_spec(origins.addresses, listen=listen, balance=balance, workers=workers)
        return serve(spec, banner=banner, ready=lambda info: print(hints(spec, info), file=sys.stderr, flush=True))


def hints(spec: Spec, info: RuntimeInfo) -> str:
    """What to try, as lines to paste into a shell."""
    url = f"http://{_reachable(next(iter(info.addresses.values()))[0])}"
    servers = spec.backends[0].servers
    origins = ", ".join(f"{s.name} on {s.address}" for s in servers)
    first = f"http://{servers[0].address}"
    return f"""
Three origin servers are behind it: {origins}. Try:

  curl {url}/                  # again and again: the origins take turns
  curl -i {url}/json           # what reaches an origin
  curl {url}/slow              # two seconds; stop fastlb meanwhile: it waits for the answer
  curl -X POST {first}/down    # origin-1 fails its health checks: the others take over
  curl -X POST {first}/up      # and it comes back

Stop it with Ctrl-C.
"""


def _reachable(address: tuple[str, int] | str) -> str:
    if not isinstance(address, str) and address[0] in ("0.0.0.0", "::"):
        return f"127.0.0.1:{address[1]}" if address[0] == "0.0.0.0" else f"[::1]:{address[1]}"
    return shown(address)
