"""Processes: the supervisor, its workers, and the engine inside another program's loop.

`fastlb.runtime.supervisor.serve` runs a Spec, `fastlb.runtime.demo.serve_demo` a demonstration,
`fastlb.runtime.embedded.Embedded` one engine on the current loop. Nothing is imported here, so that a worker process
loads only what it needs.
"""
