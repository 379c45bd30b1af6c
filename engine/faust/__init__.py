"""Runs applications that are written for Faust on tasks of the engine."""
