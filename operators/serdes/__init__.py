"""Bytes to keys and values, and back."""
