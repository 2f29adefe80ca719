"""Matrix products on codes."""
