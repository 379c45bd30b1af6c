"""Opening tasks: stores, replay of changelogs, and global tables."""
