"""The finished topology: a frozen graph of nodes, and the codecs at its boundaries."""
