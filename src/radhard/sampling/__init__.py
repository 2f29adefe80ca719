"""Samplers: which faults to draw, and how to estimate from their outcomes."""
