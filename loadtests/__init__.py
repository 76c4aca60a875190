"""Load campaigns: Locust drives scenarios against fastlb and its peers while faults are injected. See README.md."""
