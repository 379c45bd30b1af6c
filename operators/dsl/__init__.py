"""What users write: the builder of a topology, and the handles of its streams and tables."""
