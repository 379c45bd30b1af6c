"""Snapshots of tasks' stores in an object store or a file system."""
