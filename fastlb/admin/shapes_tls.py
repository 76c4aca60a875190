"""Answers about TLS."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict


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


class CertificateList(TypedDict):
    certificates: list[CertificateView]
