"""Published questions asked again: campaigns in, what figures show out."""
