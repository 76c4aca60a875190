"""What POST /v1/explain is asked and answers, as types."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from fastlb.admin.shapes import State


class Asked(BaseModel):
    """A request that somebody asks about."""

    model_config = ConfigDict(extra="forbid")

    method: str = Field("GET", min_length=1, max_length=100)
    url: str = Field(min_length=1, max_length=65536, description="A whole URL or a path.")
    headers: list[tuple[str, str]] = Field(default_factory=list, max_length=256, description="Pairs of name and value.")
    client: str = Field("127.0.0.1", max_length=64, description="Address that it comes from, or unix.")
    frontend: str = Field("", max_length=64, description="Empty: the one that listens where the URL points.")


class PassedView(TypedDict):
    route: str
    why: list[str]


class RuleView(TypedDict):
    owner: str
    message: Literal["request", "response"]
    what: str


class CandidateView(TypedDict):
    name: str
    address: str
    state: State
    backup: bool
    weight: int
    effective_weight: float
    in_flight: int
    limit: int
    score: Annotated[float | None, Field(description="What the algorithm compares, least first.")]
    latency: Annotated[float | None, Field(description="Estimated seconds.")]
    share: Annotated[float, Field(description="Of requests like this one, as things stand.")]
    picked: bool
    why: str


class BalanceView(TypedDict):
    """The choice among the servers of the backend."""

    backend: str
    algorithm: str
    key: str | None
    key_of: str
    hash: str
    panic: bool
    tier: Annotated[str, Field(description="primary, backup, or how the tiers share: 'tier 0: 70 %, tier 1: 30 %'.")]
    picked: str
    certain: Annotated[bool, Field(description="Else it is the most likely one.")]
    how: str
    retries: Annotated[list[str], Field(description="Where further attempts would go.")]
    servers: list[CandidateView]


class ExplanationView(TypedDict):
    """The way of one request."""

    outcome: Literal["proxied", "redirected", "answered", "not found", "refused", "no server", "queued"]
    status: Annotated[int, Field(description="Of an answer without a server; 0 = a server answers.")]
    text: str
    frontend: str
    listen: str
    client: str
    trusted: bool
    live: bool
    head: Annotated[str, Field(description="As the client sends it.")]
    route: str
    passed: list[PassedView]
    passed_more: int
    rules: list[RuleView]
    sent: Annotated[str, Field(description="The head as the server gets it.")]
    answer: Annotated[str, Field(description="The head of a redirect or fixed response.")]
    auth: Annotated[str, Field(description="Table of [auth] that is asked, and how; empty = nobody is.")]
    mirror: Annotated[str, Field(description="Backend that gets a copy.")]
    rate_limits: Annotated[int, Field(description="Rules that count it.")]
    balance: BalanceView | None
