"""A running process: start-up, the loop, the checkpoint, and periodic work."""
