"""Apache Kafka's jars from Maven Central."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import maven
from tests.support.maven import Unavailable, cache_directory, java

__all__ = ["KAFKA_VERSION", "Unavailable", "cache_directory", "check", "classpath", "jars_directory", "java"]

KAFKA_VERSION = "4.4.0"
_NAME = f"kafka-{KAFKA_VERSION}"
_ARTIFACTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")


def jars_directory() -> Path:
    return cache_directory() / _NAME


def check() -> None:
    """Raise Unavailable unless `java` and either the jars or Maven are there. Downloads nothing."""
    maven.check(_NAME)


def classpath() -> str:
    """Return the class path of the broker, downloading the jars if they are not in the cache."""
    return os.pathsep.join(str(jar) for jar in sorted(maven.jars(_NAME, _ARTIFACTS).glob("*.jar")))
