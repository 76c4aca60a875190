"""fastlb: a load balancer with a Cython engine, configured in TOML, extended in Python."""

__version__ = "0.1.0"
