"""What the rules do with real packets: the kernel and the model must agree."""
