"""The question, collecting its answer, and the store that keeps it."""
