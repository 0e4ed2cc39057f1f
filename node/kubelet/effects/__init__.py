"""What changes the machine: carries steps out, runs hooks, removes leftovers."""
