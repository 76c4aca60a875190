"""What goes wrong, in words: each makes a `Fault` for a share of the scenario's time."""

from __future__ import annotations

from loadtests.model import Fault, Stage


def kill(at: float, server: str) -> Fault:
    """SIGKILL: connections break, new ones are refused."""
    return Fault(at, f"{server} killed", lambda stage: stage.kill(server))


def restart(at: float, server: str) -> Fault:
    """The server is there again, on its old port, with an empty memory."""
    return Fault(at, f"{server} started", lambda stage: stage.start(server))


def freeze(at: float, server: str) -> Fault:
    """SIGSTOP: connections are taken by the kernel and nothing answers."""
    return Fault(at, f"{server} frozen", lambda stage: stage.freeze(server))


def thaw(at: float, server: str) -> Fault:
    return Fault(at, f"{server} thawed", lambda stage: stage.thaw(server))


def slow(at: float, server: str, seconds: float) -> Fault:
    """From now on a request takes so long there."""
    return Fault(at, f"{server} takes {seconds * 1e3:g} ms", lambda stage: stage.set(server, seconds=seconds))


def sick(at: float, server: str) -> Fault:
    """Says by its health check that it should get nothing; what it gets all the same, it answers."""
    return Fault(at, f"{server} sick", lambda stage: stage.set(server, sick=1))


def well(at: float, server: str) -> Fault:
    return Fault(at, f"{server} well", lambda stage: stage.set(server, sick=0))


def reload(at: float) -> Fault:
    return Fault(at, "reload", lambda stage: stage.reload())


def replace(at: float, server: str, patience: float = 3.0) -> Fault:
    """One step of a rolling deploy: drain, wait until it is idle, stop, start the new one, take it back."""

    def do(stage: Stage) -> None:
        stage.drain(server)
        stage.await_idle(server, patience)
        stage.kill(server)
        stage.start(server)
        stage.ready(server)

    return Fault(at, f"{server} replaced", do)
