"""Observability of a process: statistics, metrics, health, logs. Read-only."""
