"""Stream processing over Kafka: topologies in Python, keyed state, exactly once."""

__version__ = "0.1.0"

__all__ = ["__version__"]
