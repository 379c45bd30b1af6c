"""Real connectors of Debezium, in a process of their own, from Maven."""
