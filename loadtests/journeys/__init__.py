"""The users: what visitors of a shop, clients of an API, chatters and abusers do, and how long they think.

Everything they choose comes from generators seeded by `--seed`, the process and the user's number, so a run can be had
again. Think times are what people take; where a scenario has to be pressing, its users think less.
"""

from __future__ import annotations

import random

from locust import FastHttpUser, User

from loadtests.journeys.base import seed


def users() -> dict[str, type[User]]:
    """All user classes by name."""
    from loadtests.journeys import chat, shop, transfer

    found: dict[str, type[User]] = {}
    for module in (shop, chat, transfer):
        for name, one in vars(module).items():
            if isinstance(one, type) and issubclass(one, User) and not one.__dict__.get("abstract", False):
                found[name] = one
    return found


__all__ = ["FastHttpUser", "random", "seed", "users"]
