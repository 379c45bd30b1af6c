"""Tasks: one sub-topology on one partition number, executing. No clocks, threads or Kafka."""
