from fastlb._core.region import Region

STEPS: tuple[str, ...]
RESOURCES_BY_NUMBER: tuple[str, ...]

def overload_status(region: Region, worker: int) -> tuple[int, str, float, int, int, int]: ...
