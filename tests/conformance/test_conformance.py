"""The published corner cases of HTTP/1.1, through a running fastlb with a hostile client or a hostile server.

The cases and their drivers lie in a folder `shared/conformance` beside the checkout, or where FASTLB_CONFORMANCE
points.
A driver judges by what really arrives on both sides. The runs go on side by side: they mostly wait for silence.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.balancer import Balancer, configuration, launch
from tests.helpers import ROOT, Program, free_port, in_ci

from .differences import REQUESTS, RESPONSES

FOLDER = Path(os.environ.get("FASTLB_CONFORMANCE") or ROOT.parent / "shared" / "conformance")

# One byte of another exchange, one request too many, one broken answer passed for whole: never, for no reason.
NEVER = {"smuggled", "poisoned", "conflict", "dirty", "falsecomplete", "hung", "altered", "lax"}
FINE = {"ok", "waiting"}

RUNS = {
    "requests": ("request_cases.py",),
    # the driver pauses after every byte: the long cases have runs of their own
    "requests in single bytes": ("request_cases.py", "--split", "byte", "--only", "^(?!gunicorn)"),
    "requests in single bytes, 2": ("request_cases.py", "--split", "byte", "--only", "gunicorn:valid/02"),
    "requests in single bytes, 3": ("request_cases.py", "--split", "byte", "--only", "gunicorn:valid/(?!02)"),
    "requests in single bytes, 4": ("request_cases.py", "--split", "byte", "--only", "gunicorn:invalid/0"),
    "requests in single bytes, 5": ("request_cases.py", "--split", "byte", "--only", "gunicorn:(?!valid|invalid/0)"),
    "requests line by line": ("request_cases.py", "--split", "line"),
    "responses, then closed": ("response_cases.py",),
    "responses, left open": ("response_cases.py", "--keep"),
}


@dataclass
class Run:
    """One driver at work on a balancer of its own."""

    driver: Program
    balancer: Balancer
    report: Path

    def cases(self) -> list[dict[str, Any]]:
        self.driver.wait(100)
        assert self.report.exists(), self.driver.output
        found: list[dict[str, Any]] = json.loads(self.report.read_text())["cases"]
        return found

    def stop(self) -> None:
        self.driver.stop()
        assert self.balancer.stop() == 0, self.balancer.program.output
        assert "Traceback" not in self.balancer.program.output, self.balancer.program.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    if not FOLDER.is_dir():
        reason = f"the conformance cases are not there: {FOLDER} (FASTLB_CONFORMANCE names another place)"
        if in_ci() and "FASTLB_CONFORMANCE" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("conformance")
    started: dict[str, Run] = {}
    try:
        for name, (script, *options) in RUNS.items():
            port = free_port()
            # a head that comes in single bytes takes its time
            patient = {"timeouts": {"header": "2m", "client": "2m"}}
            balancer = launch(configuration((f"127.0.0.1:{port}",), **patient), folder)
            report = folder / f"{name}.json"
            kind = script.partition("_")[0]
            driver = Program(
                [
                    sys.executable, FOLDER / script, "--proxy", f"127.0.0.1:{balancer.ports['web']}",
                    "--origin", f"127.0.0.1:{port}", "--name", "fastlb", "--out", report, *options,
                    *sorted((FOLDER / "cases").glob(f"*-{kind}.json")),
                ],
                cwd=FOLDER,
            )  # fmt: skip
            started[name] = Run(driver, balancer, report)
        yield started
    finally:
        for run in started.values():
            run.stop()


@pytest.mark.parametrize("name", RUNS)
def test_cases(runs: dict[str, Run], name: str) -> None:
    cases = runs[name].cases()
    known = REQUESTS if name.startswith("requests") else RESPONSES
    verdicts = {c["id"]: c["verdict"] for c in cases}
    assert cases, "the driver found no cases"

    def shown(c: dict[str, Any]) -> str:
        return f"{c['id']}: {c['verdict']} ({c['why']}); status {c['status']}"

    assert not [shown(c) for c in cases if c["verdict"] in NEVER]
    unlisted = [c for c in cases if c["verdict"] not in FINE and known.get(c["id"], ("",))[0] != c["verdict"]]
    assert not [shown(c) for c in unlisted], "not in differences.py"
    stale = [i for i in known if i in verdicts and verdicts[i] in FINE]
    assert not stale, "listed in differences.py without need"


def test_every_case_has_run(runs: dict[str, Run]) -> None:
    def ids(start: str) -> set[str]:
        return {c["id"] for name, run in runs.items() if name.startswith(start) for c in run.cases()}

    files = [json.loads(f.read_text()) for f in (FOLDER / "cases").glob("*.json")]
    sent = {kind: {c["id"] for d in files if d["kind"] == kind for c in d["cases"]} for kind in ("request", "response")}
    assert len(sent["request"]) > 300
    assert len(sent["response"]) > 60
    assert ids("requests in single bytes") == ids("requests line by line") == sent["request"]
    assert ids("responses, left open") >= sent["response"]


def test_every_difference_is_a_case(runs: dict[str, Run]) -> None:
    ids = {c["id"] for run in runs.values() for c in run.cases()}
    assert not (REQUESTS.keys() | RESPONSES.keys()) - ids
    assert not {verdict for verdict, _ in (*REQUESTS.values(), *RESPONSES.values())} & NEVER


def test_balancers_survived(runs: dict[str, Run]) -> None:
    for name, run in runs.items():
        run.cases()
        assert run.balancer.program.process.poll() is None, (
            f"fastlb ended during {name}:\n{run.balancer.program.output}"
        )
