"""What a stream program means: records, serdes, the graph of steps, and the steps themselves. No input or output."""
