"""Circuit breakers of the shared region, for the layers above control."""

from fastlb.balance.breaker_status import STATES, BreakerStatus, breaker_status, reset_breaker, tick_breaker

__all__ = ["STATES", "BreakerStatus", "breaker_status", "reset_breaker", "tick_breaker"]
