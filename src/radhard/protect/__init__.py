"""Protections: what they change, what they reach, and what they cost."""
