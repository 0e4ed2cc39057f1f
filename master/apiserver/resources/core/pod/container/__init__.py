"""Rules for the containers of a pod, of every sort."""
