"""The schema registry: its client, the cache of schemas, and the serdes that use it."""
