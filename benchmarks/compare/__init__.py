"""fastlb beside HAProxy and nginx: the same work, one after the other, what it cost each of them.

`python -m benchmarks.compare --help`. Proxy on one core, load generator and origin servers on another; every proxy
gets a configuration equal in features (see `peers`), every workload (see `workloads`) runs on each proxy in turn, for
several rounds, and what is compared are ratios within a round (see `report`).
"""
