"""Certificate signing requests: what may stand in one, and who approves it."""
