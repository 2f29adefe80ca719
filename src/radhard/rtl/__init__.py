"""The systolic array as hardware: its text, its registers cycle by cycle, and what it costs."""
