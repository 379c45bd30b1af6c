"""Aggregates per key and window."""
