"""Earshot's agent: sound in; levels, events and alerts out; never audio."""

__version__ = "0.1.0"
