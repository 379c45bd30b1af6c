"""Event time across tasks: watermarks, and the records by which tasks send theirs downstream. Pure."""
