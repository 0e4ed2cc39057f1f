"""The control plane: API server, scheduler, controllers, and the state that they share."""
