"""The history of a stream: rows of files that it reads before its topic."""
