"""State that is read without a process: directories, snapshots, dumps."""
