"""The user's own steps: `Processor`, its states and timers."""
