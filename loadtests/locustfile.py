"""What Locust loads. `python -m loadtests` starts it; a worker on another machine needs no more than this file's path.

CAMPAIGN_SCENARIO  name of the scenario: its users and its shape; a worker takes all users and no shape
CAMPAIGN_PLAN      JSON of the points (seconds, users) of the shape and the seed
CAMPAIGN_OUT       where the master writes what was counted
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Locust gives a file, not a package

from locust import LoadTestShape, runners

from loadtests import journeys, recorder
from loadtests.model import users_at
from loadtests.scenarios import SCENARIOS

NAME = os.environ.get("CAMPAIGN_SCENARIO", "")
TAIL = 3.0  # seconds; two for journeys to stop, one for the reports
PLAN = json.loads(os.environ.get("CAMPAIGN_PLAN", "{}"))
OUT = os.environ.get("CAMPAIGN_OUT", "")

recorder.install(SCENARIOS[NAME].goal if NAME in SCENARIOS else PLAN.get("goal", 1.0), Path(OUT) if OUT else None)
journeys.seed(int(PLAN.get("seed", os.environ.get("CAMPAIGN_SEED", "1"))))

runners.WORKER_REPORT_INTERVAL = 0.5  # seconds; the last report must not be missed

weights: dict[str, int] = PLAN.get("users") or (SCENARIOS[NAME].users if NAME else {})
for _name, _class in journeys.users().items():
    if not weights or _name in weights:
        _class.weight = weights.get(_name, 1)
        globals()[_name] = _class
del _class  # Locust takes every user class that it finds by any name

if PLAN:

    class Campaign(LoadTestShape):
        """So many users at so many seconds, joined by straight lines."""

        def tick(self) -> tuple[int, float] | None:
            now, points = self.get_run_time(), PLAN["points"]
            if now < points[-1][0]:
                return users_at(points, now), 1000.0
            # Everyone goes home first: a master that ends takes no more reports
            return (0, 1000.0) if now < points[-1][0] + TAIL else None
