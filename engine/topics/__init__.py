"""Whether the topics of a program are as it needs them: when it starts, and while it runs."""
