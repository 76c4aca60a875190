"""Balancing core: choose a server for each use. A library in its own right, and what the proxy balances with."""

# Importing an algorithm enters it into the registry that make_selector looks names up in.
import fastlb.balance.round_robin  # type: ignore[import-not-found]
import fastlb.balance.two_choices  # type: ignore[import-not-found]  # noqa: F401

__all__: list[str] = []
