"""What a fault will probably do, or provably does not, without running it."""
