"""Kafka's clients and protocol. Only this package and `group` import a Kafka client."""
