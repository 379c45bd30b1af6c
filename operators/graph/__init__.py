"""The finished topology: a frozen graph of nodes, and the codecs where bytes enter and leave it."""
