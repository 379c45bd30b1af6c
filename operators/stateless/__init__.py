"""Steps that process each record by itself, and steps that call functions for many records."""
