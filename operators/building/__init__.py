"""The topology builder: stream references, and the specifications of steps."""
