"""Metadata that members exchange in the group protocol: subscriptions, plans, shared state."""
