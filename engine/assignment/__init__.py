"""The assignor: pure functions from the states of all members to the assignment of tasks."""
