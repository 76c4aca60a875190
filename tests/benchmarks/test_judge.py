"""The judge of ratios, its table, the instruction counts and the page of history."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from benchmarks import history
from benchmarks.callgrind import countable
from benchmarks.cases import CASES, Case
from benchmarks.judge import TABLE, Bench, Judged, Thresholds, judge, thresholds


def test_the_table_holds_every_case_and_no_other() -> None:
    data = tomllib.loads(TABLE.read_text())
    assert set(data["usual"]) == set(CASES)
    assert set(data["instructions"]) == {name for name in CASES if countable(name)}
    assert all(ratio > 0 for ratio in data["usual"].values())


def test_tolerance_is_that_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    text = 'measured_on = "{}"\n[tolerance]\nsame = 0.15\nother = 1.0\n[usual]\nx = 2.0\n'
    path.write_text(text.format("another one"))
    assert thresholds(path).limit("x") == 4.0
    path.write_text(text.format(history.reference()))
    assert thresholds(path).limit("x") == pytest.approx(2.3)
    with pytest.raises(KeyError):
        thresholds(path).limit("y")


@pytest.mark.parametrize(("slower", "caught"), [(1.0, False), (1.2, True)])
def test_a_fifth_more_work_is_caught(monkeypatch: pytest.MonkeyPatch, slower: float, caught: bool) -> None:
    """The clock is the test's own: a call takes what the statement says, plus noise that only adds."""
    now, noise = [0.0], iter(range(10**9))

    def work(seconds: float) -> None:
        now[0] += seconds * (1 + next(noise) % 3 * 0.2)

    monkeypatch.setattr("benchmarks.judge.timeit.Timer", _timer(now))
    case = Case("x", "work(ours)", "work(theirs)", "y", lambda: {"work": work, "ours": 3e-6 * slower, "theirs": 1e-6})
    limit = Thresholds(0.15, {"x": 3.0}).limit("x")
    assert (Bench(case).measure(limit).ratio > limit) is caught


@pytest.mark.parametrize(
    ("first", "others", "more", "passed", "asked"),
    [
        (1.05, [], 0.0, True, 0),
        (1.2, [1.2, 1.08], 0.0, True, 2),  # memory lay badly
        (1.2, [1.2] * 4, 0.002, True, 4),  # no more instructions than usual: memory again
        (1.2, [1.2] * 4, 0.19, False, 4),  # a regression
        (1.8, [1.8] * 4, 0.0, False, 4),  # the same instructions, but so slow that it cannot be chance
    ],
)
def test_a_suspect_is_judged_alone_and_by_its_instructions(
    monkeypatch: pytest.MonkeyPatch, first: float, others: list[float], more: float, passed: bool, asked: int
) -> None:
    runs: list[float] = []

    def alone(name: str) -> dict[str, float]:
        runs.append(others[len(runs)])
        return {name: runs[-1]}

    monkeypatch.setattr("benchmarks.judge.alone", alone)
    monkeypatch.setattr("benchmarks.judge.instructions", lambda names: {names[0]: 1000.0 * (1 + more)})
    monkeypatch.setattr("benchmarks.judge.shutil.which", lambda program: program)
    table = Thresholds(0.1, {"x": 1.0}, wide=0.6, exact=0.03, counted={"x": 1000.0})
    judged = judge("x", first, table)
    assert (judged.passed, len(runs)) == (passed, asked), judged
    if asked == 4:
        assert f"instructions {more:+.1%}" in judged.why
        uncounted = judge_again(monkeypatch, first, others, table)
        assert not uncounted.passed, "without counts the clock alone decides"


def judge_again(monkeypatch: pytest.MonkeyPatch, first: float, others: list[float], table: Thresholds) -> Judged:
    """The same where the program was built otherwise than the counted one."""
    monkeypatch.setattr("benchmarks.judge.alone", lambda name: {name: others[0]})
    return judge("x", first, replace(table, counted={}))


def _timer(now: list[float]) -> Any:
    class Timer:
        def __init__(self, statement: str, globals: dict[str, Any]) -> None:
            self._run = FunctionType(compile(statement, "x", "exec"), globals)

        def timeit(self, calls: int) -> float:
            began = now[0]
            for _ in range(min(calls, 3)):
                self._run()
            return (now[0] - began) / min(calls, 3) * calls

    return Timer


def test_history_saves_runs_and_draws_them(tmp_path: Path) -> None:
    for day, ratio in (("01", 0.5), ("02", 0.6)):
        run = tmp_path / f"run{day}.json"
        run.write_text(
            json.dumps(
                {
                    "datetime": f"2026-01-{day}T10:00:00.5",
                    "commit_info": {"id": "abcdef0123456789", "dirty": day == "02"},
                    "benchmarks": [
                        {"params": {"name": "pick/x/10"}, "extra_info": {"ratio": ratio, "ns": 12.0}},
                        {"params": None, "extra_info": {}},
                    ],
                }
            )
        )
        history.save(run, tmp_path / "history")
    runs = history.load(tmp_path / "history")
    assert [r["cases"]["pick/x/10"]["ratio"] for r in runs] == [0.5, 0.6]
    assert [r["commit"] for r in runs] == ["abcdef0123", "abcdef0123+"]
    page = history.html(runs)
    assert page.count("<svg") == 1
    assert "abcdef0123+" in page
