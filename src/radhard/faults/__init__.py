"""Fault sites, fault models, drawn faults, and what software sees of them."""
