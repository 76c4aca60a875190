from fastlb.engine.step import Step

class FaultStep(Step):
    def __init__(self, share: float = 1.0, delay: float = 0.0, abort: int = 0, header: str = "") -> None: ...
