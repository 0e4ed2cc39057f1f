"""The machine: its Node object and its usage."""
