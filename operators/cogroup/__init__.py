"""Cogroup: the aggregation of several grouped streams into one accumulator."""
