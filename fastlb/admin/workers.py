"""What there is to say about each worker: from the supervisor, from the shared region, from the kernel."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from fastlb.runtime.extras import Running

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker slot."""

    slot: int
    pid: int  # 0 = no process now
    state: str  # gone | starting | ready | draining | resting
    starts: int
    since: float  # time.time() of the last start
    beats: int
    beat_age: float  # seconds since the last heartbeat
    connections: int  # clients open
    generation: int  # of the configuration it runs
    cpu_seconds: float  # user and system; 0 without a process
    resident_bytes: int


def worker_facts(running: Running) -> list[WorkerFacts]:
    """One for each worker slot; with `workers = 0` the supervisor's own process."""
    found = []
    now_ms = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000
    for member in running.team.members():
        status = running.service.region.worker_status(member.slot)
        alive = member.state not in ("gone", "resting")
        cpu, resident = process_use(member.pid) if alive else (0.0, 0)
        found.append(
            WorkerFacts(
                slot=member.slot,
                pid=member.pid if alive else 0,
                state=member.state,
                starts=member.starts,
                since=member.since,
                beats=status.beats,
                beat_age=max(0, now_ms - status.beat_ms) / 1000 if status.beat_ms else 0.0,
                connections=status.connections,
                generation=status.generation,
                cpu_seconds=cpu,
                resident_bytes=resident,
            )
        )
    return found


def process_use(pid: int) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process, from /proc (proc(5)); zeros when it is gone."""
    try:
        # The name, in brackets, may hold spaces: what follows the last bracket is numbered from field 3 on.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE


def open_files(pid: int) -> int:
    """Descriptors that a process has open; 0 where the kernel does not tell."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0
