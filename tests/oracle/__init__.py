"""Slow, readable versions of the algorithms in plain Python, written from their definitions, for the tests to compare with."""
