"""Chaos test: an application on three brokers under random faults, and the verification of its results."""
