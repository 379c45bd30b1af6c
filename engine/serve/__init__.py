"""What a process shows of itself: statistics, metrics, health, logs. Read-only."""
