"""Histories of streams: files that are read before a topic."""
