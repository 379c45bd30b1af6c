"""Random programs: drawn from a seed, run in many ways that must not matter, and shrunk when one of them does."""
