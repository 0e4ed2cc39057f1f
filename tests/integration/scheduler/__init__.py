"""The user's own scheduler with a whole master: as a file of its settings, and as a process."""
