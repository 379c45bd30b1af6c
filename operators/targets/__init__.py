"""Sinks that write to targets: systems outside Kafka that keep their own position."""
