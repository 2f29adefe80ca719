"""Number formats as bit patterns."""
