"""Intervals, mergeable moments, sample-size plans, stopping rules."""
