"""What is said of the machine: its Node and its usage."""
