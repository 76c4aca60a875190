"""Answers about TLS."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict


class AcmeView(TypedDict):
    """How a certificate comes by itself."""

    state: Literal["waiting", "ordering", "valid", "failed"]
    wanted: Annotated[list[str], Field(description="Names that it is to have.")]
    renew_at: Annotated[datetime | None, Field(description="Null while there is none.")]
    next_try: Annotated[datetime | None, Field(description="After a failure.")]
    failures: Annotated[int, Field(description="In a row.")]
    error: Annotated[str, Field(description="Why the last try failed; empty after a success.")]


class CertificateView(TypedDict):
    """A certificate that a listener shows."""

    frontend: str
    listen: str
    file: str
    names: list[str]
    key: Literal["ecdsa", "rsa", "ed25519", "ed448", "other"]
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    days_left: Annotated[float, Field(description="Negative when it has ended.")]
    acme: Annotated[AcmeView | None, Field(description="Null = its file is somebody else's affair.")]


class CertificateList(TypedDict):
    certificates: list[CertificateView]
