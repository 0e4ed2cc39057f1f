"""What several controllers ask. Pure, and of no controller alone."""
