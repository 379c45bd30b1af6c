"""A running process: start-up, the loop, the checkpoint, and what goes on beside it."""
