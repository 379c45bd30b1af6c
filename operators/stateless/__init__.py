"""Steps that treat each record by itself, and steps that call functions for many records at a time."""
