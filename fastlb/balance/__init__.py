"""Balancing core: choose a server for each use. A library in its own right, and what the proxy balances with.

balancer = Balancer("weighted_round_robin", [Server("10.0.0.1:80", weight=3), Server("10.0.0.2:80")])
server = balancer.pick()
...
balancer.release(server)
"""

from fastlb.balance.balancer import Balancer, NoServerAvailable, algorithms
from fastlb.balance.policy import Policy, register
from fastlb.balance.server import Server

__all__ = ["Balancer", "NoServerAvailable", "Policy", "Server", "algorithms", "register"]
