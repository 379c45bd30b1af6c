"""Steps of tables: rows from a topic, groups of rows, rows held back."""
