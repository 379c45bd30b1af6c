"""Compares what two versions of an application write."""
