"""The short forms of proofs.py."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

from fastlb.config import check_text
from fastlb.control.builder import Engine
from fastlb.control.region import Region
from fastlb.control.resolve import resolve
from fastlb.control.slots import Slots

from . import proofs


def test_reloads_cost_nobody_anything(tmp_path: Path) -> None:
    proof = proofs.reloads(tmp_path, count=12, seconds=6, kept=6, new=4, tunnels=3)
    assert proof.failures == {}
    assert proof.requests > 500
    assert proof.echoes > 30
    # a leak of a snapshot would be some hundred KB a reload; what an allocator keeps is less
    assert all(growth < 4000 for growth in proof.growth.values()), proof.memory


def test_killed_workers_cost_only_what_was_on_them(tmp_path: Path) -> None:
    proof = proofs.kills(tmp_path, count=4, kept=6, new=6)
    assert proof.requests > 500
    assert set(proof.failed_ports) <= proof.victims, proof.failures
    assert len(proof.failed_ports) <= proof.held


def test_an_engine_keeps_nothing_of_configurations_that_were_replaced() -> None:
    frontends = "".join(f"[frontends.f{n}]\nlisten = '127.0.0.1:{7000 + n}'\nbackend = 'b{n}'\n" for n in range(6))
    backends = "".join(f"[backends.b{n}]\nservers = ['127.0.0.1:9']\n" for n in range(6))
    read = check_text(frontends + backends + "[log]\naccess = 'off'\n").spec
    assert read is not None

    async def growth() -> int:
        spec, _ = await resolve(read)
        region = Region.create(False, 1)
        region.begin_worker(0)
        engine = Engine(region, 0, asyncio.get_running_loop())
        assignment = Slots().assign(spec)
        before = 0
        for number in range(400):
            engine.apply(spec, assignment)
            if number == 100:
                gc.collect()
                before = proofs.memory_of(os.getpid())
        gc.collect()
        engine.close()
        return proofs.memory_of(os.getpid()) - before

    assert asyncio.run(growth()) < 1500  # KB; a few bytes a table would be more
