"""The consumer group: membership, what members tell each other, and fencing of the dead."""
