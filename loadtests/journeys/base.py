"""What all users share: their own seeded generator, patience, and the way they judge an answer."""

from __future__ import annotations

import itertools
import os
import random
from typing import Any

import gevent
from locust import FastHttpUser, User

from loadtests.recorder import recorder

_seed = 1
_numbers = itertools.count(1)


def seed(value: int) -> None:
    """Seed of all users of this process."""
    global _seed
    _seed = value


def generator(user: User) -> tuple[random.Random, str]:
    """A generator for one user, and a name that no other user has."""
    worker = getattr(user.environment.runner, "worker_index", 0)
    name = f"{worker}-{next(_numbers)}"
    return random.Random(f"{_seed}:{type(user).__name__}:{name}"), f"{name}-{os.getpid()}"


class Visitor(FastHttpUser):
    """An HTTP user. Retries nothing: what fails is counted as failed."""

    abstract = True
    connection_timeout = 5.0
    network_timeout = 15.0

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.random, self.name = generator(self)
        self.headers: dict[str, str] = {}  # of every request that `get` makes

    def think(self, low: float, high: float) -> None:
        """Waits as a person would between two clicks."""
        gevent.sleep(self.random.uniform(low, high))

    def get(self, path: str, label: str, **options: Any) -> Any:
        return self.client.get(path, name=label, headers=self.headers, **options)

    def mark(self, fact: str) -> None:
        recorder.mark(fact)
