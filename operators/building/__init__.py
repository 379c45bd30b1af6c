"""The topology while it is being written: where a handle stands, and how a step is added there."""
