"""The user's own scheduler: the child's functions and what is exchanged, in one process."""
