"""Benchmarks: ratios of candidates that ran in turn on one core; see scripts/bench."""
