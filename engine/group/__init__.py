"""The consumer group: membership, metadata of members, and fencing of dead processes."""
