"""A running fastlb for the commands that ask one."""

from tests.admin.conftest import fastlb, origins, shared

__all__ = ["fastlb", "origins", "shared"]
