"""Writing to targets, and the targets that come with Tidemill."""
