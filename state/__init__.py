"""Bytes on disk: stores, caches of decoded values, changelog records, restore decisions, the state directory.

Knows neither records nor topologies nor Kafka.
"""
