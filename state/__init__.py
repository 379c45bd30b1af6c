"""Bytes on disk: stores, caches, changelog records, restore decisions, the state directory.

Knows neither records nor topologies nor Kafka.
"""
