"""A task: one sub-topology on one partition number, executing, without a clock, a thread or Kafka."""
