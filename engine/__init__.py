"""Runs topologies over Kafka. This folder holds what all of its packages share: errors, ids, the clock, signals."""
