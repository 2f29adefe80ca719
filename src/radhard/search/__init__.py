"""Searching designs: campaigns are the objective."""
