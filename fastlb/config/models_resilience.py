"""Tables of how a backend is protected: circuit breakers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from fastlb import spec

from . import units
from .models_rules import RespondTable
from .types import Count, Duration, Share, Table, choice, one_or_many, option

_BREAKER = spec.CircuitBreaker()
_ADAPTIVE = spec.AdaptiveConcurrency()
MOST_TRIALS = 4095


def switch(value: object) -> object:
    """true is the table with nothing in it, false is none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


Scope = Annotated[str, *choice("server", "backend")]


class CircuitBreakerTable(Table):
    """Who fails too much gets nothing for a while, then a few requests to show that it is well again."""

    scope: Annotated[list[Scope], BeforeValidator(one_or_many, json_schema_input_type=Scope | list[Scope])] = option(
        lambda: list(_BREAKER.scope),
        "server: one for each server; backend: one for all of them; or both in a list.",
        shown=list(_BREAKER.scope),
    )
    errors: Share = option(
        _BREAKER.errors, "Share of failed requests (no answer, or 500 and above) that opens it. 0 = not judged.",
        shown="50%",
    )  # fmt: skip
    slow: Share = option(_BREAKER.slow, "Share of slow requests that opens it. 0 = not judged.", shown="0%")
    slow_after: Duration = option(
        _BREAKER.slow_after, "A head of the answer that takes this long is slow.",
        shown=units.format_duration(_BREAKER.slow_after),
    )  # fmt: skip
    min_requests: int = option(_BREAKER.min_requests, "Requests in the window, to be judged.", ge=1, le=1_000_000)
    window: Duration = option(
        _BREAKER.window, "What is judged: so long back.", shown=units.format_duration(_BREAKER.window)
    )
    open: Duration = option(_BREAKER.open, "Nothing passes for so long.", shown=units.format_duration(_BREAKER.open))
    trials: int = option(
        _BREAKER.trials, "Requests that pass then, exactly so many over all workers; they decide.", ge=1,
        le=MOST_TRIALS,
    )  # fmt: skip
    trial_time: Duration = option(
        _BREAKER.trial_time, "A trial that has not ended by then counts as failed.",
        shown=units.format_duration(_BREAKER.trial_time),
    )  # fmt: skip
    concurrency: Count = option(
        _BREAKER.concurrency, "Requests of the backend at a time, waiting ones included; more get 503. 0 = unlimited."
    )


CircuitBreaker = Annotated[
    CircuitBreakerTable | None, BeforeValidator(switch, json_schema_input_type=bool | CircuitBreakerTable)
]


class AdaptiveConcurrencyTable(Table):
    """A limit of requests at a time that follows the response times of the backend."""

    initial: int = option(_ADAPTIVE.initial, "Limit at the start.", ge=1, le=1_000_000)
    min: int = option(_ADAPTIVE.min, "It never falls below this.", ge=1, le=1_000_000)
    max: int = option(_ADAPTIVE.max, "It never rises above this.", ge=1, le=1_000_000)


AdaptiveConcurrency = Annotated[
    AdaptiveConcurrencyTable | None, BeforeValidator(switch, json_schema_input_type=bool | AdaptiveConcurrencyTable)
]


class OverloadTable(Table):
    """What requests get that a circuit breaker or a limit of requests turns away."""

    respond: RespondTable | None = option(None, "This answer.")
    backend: str = option("", "Whatever this backend answers.")
