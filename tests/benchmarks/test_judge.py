"""The judge of ratios, its table, the instruction counts and the page of history."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from benchmarks import history
from benchmarks.callgrind import EXACT
from benchmarks.cases import CASES, Case
from benchmarks.judge import TABLE, Bench, Thresholds, thresholds


def test_the_table_holds_every_case_and_no_other() -> None:
    data = tomllib.loads(TABLE.read_text())
    assert set(data["usual"]) == set(CASES)
    assert set(data["instructions"]) == set(EXACT)
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
