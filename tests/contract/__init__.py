"""One suite for each protocol, run against the fake and the real thing."""
