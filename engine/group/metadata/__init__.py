"""What members of the group send to each other through the group protocol: subscriptions, assignments, shared state."""
