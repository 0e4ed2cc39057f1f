"""Real servers for tests, each on free ports and in a directory of its own, and gone afterwards."""
