"""Who harms, on purpose or not: on the network, on a node, in a pod; and what would show it."""
