"""The arithmetic of time: durations, windows, calendars, watermarks."""
