"""How the tiers of a backend stand, for those who show it; the workers decide it by the same code."""

from __future__ import annotations

from fastlb.balance.tiers import BACKUP, standing_of
from fastlb.balance.tiers import Standing as TierStanding

__all__ = ["BACKUP", "TierStanding", "standing_of"]
