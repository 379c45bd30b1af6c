"""Calls of coroutine functions: retries, rate limits and circuit breakers."""
