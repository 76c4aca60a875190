"""Limits of backends in the shared region, for the layers above control."""

from fastlb.balance.group_limits import limit, queued, requests, set_limit

__all__ = ["limit", "queued", "requests", "set_limit"]
