"""CloudEvents: events with attributes that all programs understand."""
