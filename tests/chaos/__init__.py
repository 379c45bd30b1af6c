"""Proof under violence: an application on three brokers while everything around it fails, and the judgement of it."""
