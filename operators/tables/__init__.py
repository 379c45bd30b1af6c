"""Steps of tables: rows from a topic, groups of rows, suppressed rows."""
