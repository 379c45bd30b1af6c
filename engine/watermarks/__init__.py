"""Event time across tasks: watermarks, and the marks that carry them downstream. Pure."""
