"""Figures of the book. Each takes data and returns a matplotlib figure. None reads or writes a file."""
