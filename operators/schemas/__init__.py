"""Schemas of a registry: how they are derived, and how values become bytes by them. No I/O."""
