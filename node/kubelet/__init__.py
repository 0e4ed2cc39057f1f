"""Makes the containers match the pods that are bound here: planner, volumes, status, usage."""
