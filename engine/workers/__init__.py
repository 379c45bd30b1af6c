"""The supervisor of several processes on one machine, and their number."""
