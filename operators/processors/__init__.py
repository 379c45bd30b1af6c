"""User-defined steps: `Processor`, its states and timers."""
