"""Benchmarks: us and a reference in one run, reported as a ratio. `python -m tests.bench --list`."""
