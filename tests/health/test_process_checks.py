"""Checks by commands and by functions of the user's."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from fastlb.health.plan import plan_of
from fastlb.health.process_probe import MOST, CheckTarget
from fastlb.health.verdict import Verdict, Word
from fastlb.spec import Address, Backend, HealthCheck, Server
from tests.helpers import wait_until

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
SERVER = Server("one", Address("10.1.2.3", 80), resolved=((2, ("10.1.2.3", 80)),))
EXEC = HealthCheck(type="exec", timeout=10.0)


def run(check: HealthCheck, loop=asyncio.new_event_loop, times: int = 1) -> list[Verdict]:
    async def main() -> list[Verdict]:
        running = asyncio.get_running_loop()
        results = [running.create_future() for _ in range(times)]
        plan = plan_of(Backend("app", (SERVER,)), SERVER, check)
        for result in results:
            plan.begin(running, result.set_result)
        return await asyncio.gather(*results)

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@LOOPS
@pytest.mark.parametrize(
    ("script", "word", "info", "code"),
    [
        ("exit 0", Word.PROCOK, "", 0),
        ("exit 3", Word.PROCERR, "exit status 3", 3),
        ("kill -9 $$", Word.PROCERR, "ended by signal 9", 0),
        ('test "$FASTLB_BACKEND/$FASTLB_SERVER $FASTLB_HOST $FASTLB_PORT" = "app/one 10.1.2.3 99"', Word.PROCOK, "", 0),
    ],
)
def test_exit_status(loop, script: str, word: Word, info: str, code: int) -> None:
    (verdict,) = run(replace(EXEC, command=("sh", "-c", script), port=99), loop)
    assert (verdict.word, verdict.info, verdict.code) == (word, info, code)


@LOOPS
def test_a_command_that_takes_too_long_is_killed_with_its_children(loop, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    (verdict,) = run(replace(EXEC, command=("sh", "-c", f"sleep 600 & echo $! > {note}; wait"), timeout=0.5), loop)
    assert (verdict.word, verdict.good, verdict.conclusive) == (Word.PROCTOUT, False, True)
    child = int(note.read_text())
    wait_until(lambda: not Path(f"/proc/{child}").exists() or zombie(child), what="the child's end")


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_no_such_command_says_nothing_about_the_server() -> None:
    (verdict,) = run(replace(EXEC, command=("/no/such/program",)))
    assert (verdict.word, verdict.conclusive) == (Word.SOCKERR, False)
    assert "/no/such/program: No such file" in verdict.info


def test_commands_take_turns(tmp_path: Path) -> None:
    count = 2 * MOST
    script = f"touch {tmp_path}/$$; ls {tmp_path} | wc -l >> {tmp_path}.most; sleep 0.02; rm {tmp_path}/$$"
    verdicts = run(replace(EXEC, command=("sh", "-c", script), timeout=60.0), times=count)
    assert all(v.good for v in verdicts)
    most = max(int(n) for n in Path(f"{tmp_path}.most").read_text().split())
    assert 1 <= most <= MOST


@LOOPS
def test_a_cancelled_command_ends(loop, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    check = replace(EXEC, command=("sh", "-c", f"echo $$ > {note}; exec sleep 600"))
    said: list[Verdict] = []

    async def main() -> None:
        one = plan_of(Backend("app", (SERVER,)), SERVER, check).begin(asyncio.get_running_loop(), said.append)
        await asyncio.to_thread(wait_until, lambda: note.exists() and note.read_text())
        one.cancel()
        one.cancel()
        pid = int(note.read_text())
        await asyncio.to_thread(wait_until, lambda: not os.path.exists(f"/proc/{pid}") or zombie(pid))

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert said == []


FUNCTIONS = """
import asyncio

seen = []

async def fine(target):
    seen.append(target)

async def yes(target):
    return True

async def no(target):
    return False

async def full(target):
    return "disk full"

async def broken(target):
    raise RuntimeError("no quorum")

async def slow(target):
    await asyncio.sleep(600)

async def timed(target):
    raise TimeoutError("its own")

def plain(target):
    return True

number = 5
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch) -> str:
    name = f"checks_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@LOOPS
@pytest.mark.parametrize(
    ("function", "word", "info"),
    [
        ("fine", Word.PROCOK, ""),
        ("yes", Word.PROCOK, ""),
        ("no", Word.PROCERR, ""),
        ("full", Word.PROCERR, "disk full"),
        ("broken", Word.PROCERR, "RuntimeError: no quorum"),
        ("timed", Word.PROCERR, "TimeoutError: its own"),
        ("slow", Word.PROCTOUT, "no result within 0.2 s"),
    ],
)
def test_functions(loop, functions: str, function: str, word: Word, info: str) -> None:
    timeout = 0.2 if function == "slow" else 10.0
    (verdict,) = run(HealthCheck(type=f"python:{functions}:{function}", timeout=timeout), loop)
    assert (verdict.word, verdict.info) == (word, info)
    if function == "fine":
        assert sys.modules[functions].seen[-1] == CheckTarget("app", "one", "10.1.2.3", 80)


@pytest.mark.parametrize("function", ["missing", "number", "plain", "none:x"])
def test_functions_that_cannot_be_used(functions: str, function: str) -> None:
    name = f"python:{functions}:{function}" if ":" not in function else f"python:{function}"
    (verdict,) = run(HealthCheck(type=name))
    if function == "plain":  # called, but there is nothing to wait for
        assert verdict.word is Word.PROCERR
    else:
        assert (verdict.word, verdict.conclusive) == (Word.SOCKERR, False)
