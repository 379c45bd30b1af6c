"""The stores of steps: entries with event times, expiring entries, rows with their history."""
