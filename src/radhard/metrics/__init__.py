"""What the user of the network sees: outcome classes and failure rates."""
