"""Benchmarks: ratios of candidates that ran in turn on one core; see scripts/bench."""

import os

# As the agent does, before numpy is imported: threads would spin against each other on one core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
