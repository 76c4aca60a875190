"""What Locust loads. `python -m loadtests` starts it; a worker on another machine needs no more than this file's path.

CAMPAIGN_PLAN      JSON of what is planned: `points` (seconds, users) of the shape, `users` and their weights, `goal`,
                   `seed`; a worker of another machine has none, takes all users, and is told the rest by its master
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

TAIL = 3.0  # seconds; two for journeys to stop, one for the reports
PLAN = json.loads(os.environ.get("CAMPAIGN_PLAN", "{}"))
OUT = os.environ.get("CAMPAIGN_OUT", "")

recorder.install(PLAN.get("goal", 1.0), PLAN.get("seed", 1), journeys.seed, Path(OUT) if OUT else None)

runners.WORKER_REPORT_INTERVAL = 0.5  # seconds; the last report must not be missed

weights: dict[str, int] = PLAN.get("users", {})
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
