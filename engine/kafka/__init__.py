"""Kafka's clients and protocol: the only packages that import a Kafka client are this and `group`."""
