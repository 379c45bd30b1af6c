"""Stream processing over Kafka: topologies in Python, keyed state, exactly once."""

from .operators.record import Record, Windowed

__version__ = "0.1.0"

__all__ = ["Record", "Windowed", "__version__"]
