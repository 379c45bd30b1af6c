"""Steps that keep one value per key: count, reduce, aggregate, deduplicate."""
