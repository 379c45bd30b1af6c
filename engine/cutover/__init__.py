"""The cut-over from an application to its shadow."""
