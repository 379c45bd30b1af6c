"""What tasks have of a Faust application: events, rows of tables, and what commits take."""
