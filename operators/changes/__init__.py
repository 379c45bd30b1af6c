"""Change data capture: the records of Debezium as changes and as rows."""
