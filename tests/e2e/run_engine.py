"""Serves a configuration file until there is `fastlb serve`: `python -m tests.e2e.run_engine FILE`."""

import sys

from fastlb.config import load
from fastlb.runtime import serve

if __name__ == "__main__":
    sys.exit(serve(load(sys.argv[1])))
