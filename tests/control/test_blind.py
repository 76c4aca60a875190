"""A worker that has no descriptor left to look at its memory."""

from __future__ import annotations

import asyncio
import resource

import pytest

from fastlb.control.memory import overload_steps
from tests.control.engines import one_backend, running


@pytest.mark.filterwarnings("ignore:warning. overload.memory")  # that it does not suffice is what is wanted here
def test_memory_that_cannot_be_looked_at_is_as_it_was_last() -> None:
    async def main() -> None:
        mapping = one_backend()
        mapping["overload"] = {"memory": "1MB"}
        async with running(mapping) as engine:
            engine.engine.tick()
            before = overload_steps(engine.region, 0)
            assert (before.step, before.resource) == (4, "memory") and before.pressure > 1
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            await engine.apply(mapping)  # it looks at once behind a reload
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                engine.engine.tick()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert overload_steps(engine.region, 0) == before

    asyncio.run(main())
