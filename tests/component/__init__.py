"""Several parts wired together in one process on fakes."""
