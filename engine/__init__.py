"""Runs topologies over Kafka.

This folder has what all its packages share: errors, ids, the clock, signals.
"""
