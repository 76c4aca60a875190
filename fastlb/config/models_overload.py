"""What is given up when resources run out."""

from __future__ import annotations

from fastlb import spec

from .types import Share, Size, Table, option

_STEPS = spec.OverloadSteps()


class OverloadStepsTable(Table):
    """From which share in use of connections, descriptors or memory on a worker gives up what."""

    close: Share = option(_STEPS.close, "Answers close their connections. 0 = never.", shown="85%")
    shed: Share = option(_STEPS.shed, "Idle connections end early. 0 = never.", shown="90%")
    refuse: Share = option(_STEPS.refuse, "No connection is accepted. 0 = never.", shown="95%")
    reset: Share = option(_STEPS.reset, "The connections that hold most memory are reset. 0 = never.", shown="98%")
    memory: Size = option(0, "Of all workers together. 0 = what the control group allows.")
