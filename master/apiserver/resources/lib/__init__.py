"""What the rules of several kinds are made of. No rule of one kind alone."""
