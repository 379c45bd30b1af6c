"""What steps keep: entries with event times, entries that expire, rows with their history."""
