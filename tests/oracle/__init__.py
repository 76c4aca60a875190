"""Slow, readable algorithms in plain Python, written from their definitions, for the tests to compare with."""
