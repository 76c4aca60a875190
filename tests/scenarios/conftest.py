"""Fixtures of the scenarios: one feature each, with real processes, readable as documentation."""

from __future__ import annotations

from tests.e2e.conftest import balancer, no_wire_left, origin

__all__ = ["balancer", "no_wire_left", "origin"]
