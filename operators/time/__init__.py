"""Arithmetic of time: durations, windows, calendars, watermarks."""
