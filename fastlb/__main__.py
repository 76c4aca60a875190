"""`python -m fastlb`."""

from fastlb.cli import main

main(prog_name="fastlb")
