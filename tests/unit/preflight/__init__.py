"""What is in the way of an install: the rules, and what of a machine they are told."""
