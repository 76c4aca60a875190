"""Measuring fastlb beside its peers: processes and what they use, load, and pages with plots.

Shared by `fastlb bench`, the comparison (benchmarks/compare), the benchmark history and the campaigns of loadtests/.
"""
