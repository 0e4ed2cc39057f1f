"""Usage of nodes and pods, which nobody stores."""
