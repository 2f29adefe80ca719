"""Accelerators: which values a fault corrupts, and for which of their uses."""
