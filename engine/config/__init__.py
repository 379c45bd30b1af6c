"""The settings of an application: definitions, parsing, and which source wins."""
